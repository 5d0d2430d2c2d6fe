//! Language codes. Containers name the same language in different ways: by ISO 639-1, -2/T, -2/B, or a longer tag.

/// The languages that have a code of two letters (ISO 639-1), each with its codes of three: that of ISO 639-2/T, and that of
/// ISO 639-2/B where it differs.
const CODES: &str = "\
    aa aar, ab abk, ae ave, af afr, ak aka, am amh, an arg, ar ara, as asm, av ava, ay aym, az aze, ba bak, be bel, \
    bg bul, bi bis, bm bam, bn ben, bo bod tib, br bre, bs bos, ca cat, ce che, ch cha, co cos, cr cre, cs ces cze, \
    cu chu, cv chv, cy cym wel, da dan, de deu ger, dv div, dz dzo, ee ewe, el ell gre, en eng, eo epo, es spa, et \
    est, eu eus baq, fa fas per, ff ful, fi fin, fj fij, fo fao, fr fra fre, fy fry, ga gle, gd gla, gl glg, gn grn, \
    gu guj, gv glv, ha hau, he heb, hi hin, ho hmo, hr hrv, ht hat, hu hun, hy hye arm, hz her, ia ina, id ind, ie \
    ile, ig ibo, ii iii, ik ipk, io ido, is isl ice, it ita, iu iku, ja jpn, jv jav, ka kat geo, kg kon, ki kik, kj \
    kua, kk kaz, kl kal, km khm, kn kan, ko kor, kr kau, ks kas, ku kur, kv kom, kw cor, ky kir, la lat, lb ltz, lg \
    lug, li lim, ln lin, lo lao, lt lit, lu lub, lv lav, mg mlg, mh mah, mi mri mao, mk mkd mac, ml mal, mn mon, mr \
    mar, ms msa may, mt mlt, my mya bur, na nau, nb nob, nd nde, ne nep, ng ndo, nl nld dut, nn nno, no nor, nr nbl, \
    nv nav, ny nya, oc oci, oj oji, om orm, or ori, os oss, pa pan, pi pli, pl pol, ps pus, pt por, qu que, rm roh, \
    rn run, ro ron rum, ru rus, rw kin, sa san, sc srd, sd snd, se sme, sg sag, si sin, sk slk slo, sl slv, sm smo, \
    sn sna, so som, sq sqi alb, sr srp, ss ssw, st sot, su sun, sv swe, sw swa, ta tam, te tel, tg tgk, th tha, ti \
    tir, tk tuk, tl tgl, tn tsn, to ton, tr tur, ts tso, tt tat, tw twi, ty tah, ug uig, uk ukr, ur urd, uz uzb, ve \
    ven, vi vie, vo vol, wa wln, wo wol, xh xho, yi yid, yo yor, za zha, zh zho chi, zu zul";

/// The codes of a language by ISO 639-1 and ISO 639-2/T, by any of its codes. None if it has no code of two letters.
pub(crate) fn codes(code: &str) -> Option<(&'static str, &'static str)> {
    let all = CODES.split(',').find(|codes| codes.split_ascii_whitespace().any(|c| c == code))?;
    let mut codes = all.split_ascii_whitespace();
    Some((codes.next()?, codes.next()?))
}

/// A tag with its shortest code, as the web wants it (BCP 47): `eng-us` is `en-us`.
pub(crate) fn web_language(tag: &str) -> String {
    let (primary, rest) = tag.split_at(tag.find('-').unwrap_or(tag.len()));
    format!("{}{rest}", codes(primary).map_or(primary, |(shortest, _)| shortest))
}

/// Whether two tags name the same language; countries and scripts are ignored.
pub(super) fn same_language(one: &str, other: &str) -> bool {
    let primary = |tag: &str| tag.split('-').next().unwrap_or_default().to_ascii_lowercase();
    let (one, other) = (primary(one), primary(other));
    let has = |codes: &str, code: &str| codes.split_ascii_whitespace().any(|c| c == code);
    one == other || CODES.split(',').any(|codes| has(codes, &one) && has(codes, &other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_web_wants_the_shortest_code() {
        for (tag, expected) in [("eng", "en"), ("ger-at", "de-at"), ("pt-br", "pt-br"), ("cmn", "cmn"), ("und", "und")]
        {
            assert_eq!(web_language(tag), expected);
        }
    }

    #[test]
    fn all_codes_of_a_language_are_the_same() {
        for (one, other) in
            [("en", "eng"), ("de", "ger"), ("deu", "ger"), ("pt-BR", "por"), ("EN-us", "en"), ("cmn", "cmn")]
        {
            assert!(same_language(one, other) && same_language(other, one), "{one} {other}");
        }
        for (one, other) in [("en", "de"), ("eng", "enm"), ("", "en"), ("zxx", "eng")] {
            assert!(!same_language(one, other), "{one} {other}");
        }
        assert!(CODES.split(',').all(|codes| codes.split_ascii_whitespace().next().is_some_and(|c| c.len() == 2)));
    }
}
