//! Names of languages: containers want three letters, voices two.

use std::str::FromStr;

/// Languages with both names, by ISO 639-1 and ISO 639-2/T.
const NAMES: &str = "af afr, ar ara, bg bul, bn ben, ca cat, cs ces, cy cym, da dan, de deu, el ell, en eng, es spa, et est, \
    eu eus, fa fas, fi fin, fr fra, ga gle, gl glg, gu guj, he heb, hi hin, hr hrv, hu hun, hy hye, id ind, is isl, it ita, \
    ja jpn, ka kat, kk kaz, kn kan, ko kor, lt lit, lv lav, mk mkd, ml mal, mr mar, ms msa, nb nob, ne nep, nl nld, no nor, \
    pa pan, pl pol, pt por, ro ron, ru rus, sk slk, sl slv, sq sqi, sr srp, sv swe, sw swa, ta tam, te tel, th tha, tr tur, \
    uk ukr, ur urd, vi vie, zh zho";

/// A language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Language {
    /// ISO 639-2 code, for containers.
    pub tag: String,
    /// ISO 639-1 code where there is one, for voices.
    pub voice: String,
}

impl Default for Language {
    fn default() -> Language {
        Language { tag: "eng".into(), voice: "en".into() }
    }
}

impl FromStr for Language {
    type Err = String;

    fn from_str(text: &str) -> Result<Language, String> {
        let text = text.to_ascii_lowercase();
        let pairs = || NAMES.split(", ").filter_map(|pair| pair.trim().split_once(' '));
        let known = pairs().find(|(two, three)| *two == text || *three == text);
        match known {
            Some((two, three)) => Ok(Language { tag: three.into(), voice: two.into() }),
            None if text.len() == 3 && text.bytes().all(|b| b.is_ascii_lowercase()) => {
                Ok(Language { tag: text.clone(), voice: text })
            }
            None => Err("give an ISO 639 code, such as en or deu".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_have_both_names() {
        let german = Language { tag: "deu".into(), voice: "de".into() };
        assert_eq!(("de".parse(), "DEU".parse()), (Ok(german.clone()), Ok(german)));
        assert_eq!("yue".parse::<Language>().unwrap().tag, "yue");
        assert_eq!("en".parse(), Ok(Language::default()));
        for bad in ["", "english", "e", "xx", "12a"] {
            assert!(bad.parse::<Language>().is_err(), "{bad}");
        }
    }
}
