//! Texts without credentials: what FFmpeg, libraries and servers write.

use std::sync::LazyLock;

use super::secrets::{HIDDEN, SecretOrigin, hide_known, keep, keep_secret};
use super::{Address, Loose, is_secret_name, parts};

/// Variables of the environment that hold keys.
const KEYS: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "DESCRY_API_KEY",
    "DESCRY_HTTP_TOKEN",
    "DESCRY_WEBHOOK_TOKEN",
    "HF_TOKEN",
];
/// Variables of the environment that hold addresses.
const PLACES: &[&str] = &[
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "DESCRY_MODEL",
    "HF_ENDPOINT",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
];

/// Removes credentials from a text: those of known addresses, the keys of the environment, and of everything that looks like
/// a URL what is before the `@` and after the `?` or `#`.
pub fn hide(text: &str) -> String {
    static ENVIRONMENT: LazyLock<()> = LazyLock::new(|| {
        let values = |names: &[&str]| names.iter().filter_map(|name| std::env::var(name).ok()).collect::<Vec<_>>();
        values(KEYS).iter().for_each(|key| keep_secret(key.trim()));
        values(PLACES).into_iter().for_each(|place| keep(Address(place).secrets(), SecretOrigin::Key));
    });
    LazyLock::force(&ENVIRONMENT);
    let text = hide_known(text);
    let mut out = String::with_capacity(text.len());
    for piece in text.split_inclusive(|c: char| c.is_whitespace() || "\"'<>`".contains(c)) {
        let word = piece.trim_end_matches(|c: char| c.is_whitespace() || "\"'<>`".contains(c));
        out.push_str(&hide_word(word));
        out.push_str(&piece[word.len()..]);
    }
    out
}

/// Removes credentials from a text without spaces.
fn hide_word(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    let path = match (word.find("://"), Loose::of(word)) {
        (Some(at), _) => {
            out.push_str(&word[..at + 3]);
            let (authority, path) = parts(&word[at + 3..]);
            match authority.rsplit_once('@') {
                Some((_, host)) => out.push_str(&format!("{HIDDEN}@{host}")),
                None => out.push_str(authority),
            }
            path
        }
        (None, Some(Loose { before, login, after })) => {
            out.push_str(before);
            out.push_str(login.map_or("", |_| HIDDEN));
            after
        }
        (None, None) => return hide_parameters(word),
    };
    let end = path.find(['?', '#']).map_or(path.len(), |at| at + 1);
    let (path, more) = path.split_at(end);
    // What ends a clause belongs to the sentence around the URL.
    let clause = more.trim_end_matches([':', ';', ',', '.']).len();
    format!("{out}{path}{}{}", if clause > 0 { HIDDEN } else { "" }, &more[clause..])
}

/// Removes the values of parameters in a part of a URL.
fn hide_parameters(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    for (n, pair) in word.split_inclusive(['?', '&', ';', '#']).enumerate() {
        match pair.split_once('=') {
            Some((name, value)) if n > 0 && is_secret_name(name) => {
                let value = value.trim_end_matches(['?', '&', ';', '#']).len();
                out.push_str(&format!("{name}={HIDDEN}{}", &pair[name.len() + 1 + value..]));
            }
            _ => out.push_str(pair),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cleaned_of_known_secrets_and_of_any_url() {
        let _ = Address::new("rtsp://guard:s3cr%65t-w0rd@cam/one?key=topsecretkey");
        for text in [
            "Authorization of guard:s3cr%65t-w0rd failed",
            "user said s3cret-w0rd",
            "opening http://x/?key=topsecretkey now",
            "from \"rtsp://someone:else-here@host/p\" to tcp://other:pass-word@h",
            "Opening 'https://cdn/seg-1.ts?sig=unheard-of' for reading",
        ] {
            let hidden = hide(text);
            for secret in ["s3cr", "topsecretkey", "else-here", "pass-word", "unheard-of"] {
                assert!(!hidden.contains(secret), "{hidden}");
            }
            assert!(hidden.contains(HIDDEN), "{hidden}");
        }
    }

    #[test]
    fn secrets_of_addresses_are_hidden_in_every_text() {
        let _ = Address::new("https://h/x?bare-t0ken&k=va%6cue-1234#fragm3nt");
        let _ = Address::new("rtsp:guard:sl4shless@cam/x");
        let _ = Address::new("http://u:tw1cecret@h/a@h/b");
        let _ = Address::new("http:///u:tw1ceslashed@h/a@h/b");
        let _ = Address::new("http://u:tw1ceback@h\\a@h/b");
        let _ = Address::new("https://h/x?k=%ca%\tbr0ken");
        let _ = Address::new("https://h/x?k=spac3d-o\tut\n");
        let _ = Address::led_to("https://unt0ken-user:x@h/seg.ts?Signature=sh0rt");
        for text in [
            "bare-t0ken alone",
            "value-1234",
            "va%6Cue-1234",
            "at fragm3nt",
            "sl4shless",
            "tw1cecret",
            "Authorization: Basic Z3VhcmQ6c2w0c2hsZXNz",
            "user unt0ken-user",
            "sh0rt",
            "spac3d-out",
            "%ca%\tbr0ken",
            "tw1ceslashed",
            "tw1ceback",
        ] {
            let hidden = hide(text);
            assert!(hidden.contains(HIDDEN), "{text}: {hidden}");
            for part in ["t0ken", "1234", "fragm3nt", "sl4shless", "tw1ce", "Z3Vh", "sh0rt", "spac3d", "br0ken"] {
                assert!(!hidden.contains(part), "{text}: {hidden}");
            }
        }
    }

    #[test]
    fn texts_are_cleaned_of_what_looks_like_an_address() {
        for (text, hidden) in [
            ("see https://h/x#access.", "see https://h/x#***."),
            ("no file 'rtsp:us3r:pw@cam/x?k'", "no file 'rtsp:***@cam/x?***'"),
            ("--into=s3:us3r:pw@b is wrong", "--into=s3:***@b is wrong"),
            ("us3r:pw@cam: no such file", "***@cam: no such file"),
            ("GET /live?quality=2&X-Amz-Signature=pw, late", "GET /live?quality=2&X-Amz-Signature=*** late"),
            ("nothing here: a@b, http://host/x", "nothing here: a@b, http://host/x"),
            ("[rtsp @ 0x55d0] x=1: key=2", "[rtsp @ 0x55d0] x=1: key=2"),
            ("/home/a:b/c@d.mp4: is late", "/home/a:b/c@d.mp4: is late"),
            ("http://host/x?a=b: cannot be read", "http://host/x?***: cannot be read"),
        ] {
            assert_eq!(hide(text), hidden);
        }
    }
}
