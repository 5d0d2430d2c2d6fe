//! Addresses of inputs, paths and URLs alike, and texts without credentials.
//!
//! An [`Address`] displays no credentials. Texts from elsewhere (FFmpeg, a TOML reader) go through [`hide`]. It removes user
//! names, passwords and queries of everything that looks like a URL, because a playlist can name addresses that did not
//! come from the user. It also removes every secret of every address that this process has read.

use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Replaces what is hidden.
const HIDDEN: &str = "***";
/// Shortest secret that is hidden in any text. Shorter ones are hidden only in URLs: as plain text they would be
/// everywhere.
const LEAST: usize = 4;

static KNOWN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The path or URL of an input. `Debug` and `Display` show no credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(String);

impl Address {
    /// Takes an address as the user wrote it, and hides its credentials in every text from now on.
    pub fn new(address: impl Into<String>) -> Address {
        let address = address.into();
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        for secret in secrets(&address) {
            if secret.len() >= LEAST && !known.contains(&secret) {
                known.push(secret);
            }
        }
        // The longest first, so that a secret inside another one does not leave the rest of it.
        known.sort_by_key(|s| std::cmp::Reverse(s.len()));
        drop(known);
        Address(address)
    }

    /// Whether it is a URL rather than a path.
    pub fn is_url(&self) -> bool {
        is_url(&self.0)
    }

    /// Whether it belongs to an object store.
    pub fn is_object(&self) -> bool {
        is_object(&self.0)
    }

    /// The parts of a URL; none if it is a path.
    pub(crate) fn url_parts(&self) -> Option<UrlParts<'_>> {
        let (scheme, rest) = self.0.split_once("://").filter(|_| self.is_url())?;
        // By the standard the authority ends with the first slash. If that leaves no port, the slash is in the password.
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let split = |end| {
            let (authority, path): (&str, &str) = rest.split_at(end);
            let (userinfo, server) = match authority.rsplit_once('@') {
                Some((userinfo, server)) => (Some(userinfo), server),
                None => (None, authority),
            };
            let colon = server.rfind(':').filter(|at| !server[*at..].contains(']'));
            let (host, port) = colon.map_or((server, None), |at| (&server[..at], Some(&server[at + 1..])));
            UrlParts { scheme: scheme.to_ascii_lowercase(), userinfo, host, port, path }
        };
        let strict = split(end);
        if strict.port.is_some_and(|port| !port.bytes().all(|b| b.is_ascii_digit())) {
            return Some(split(parts(rest).0.len()));
        }
        Some(strict)
    }

    /// All of it: for FFmpeg, and never to be shown.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// A path as it is; of a URL scheme, host and path.
    pub fn shown(&self) -> String {
        let Some((scheme, rest)) = self.0.split_once("://") else { return self.0.clone() };
        let (authority, path) = parts(rest);
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let end = path.find(['?', '#']).unwrap_or(path.len());
        let (path, query) = path.split_at(end);
        format!("{scheme}://{host}{path}{}", if query.len() > 1 { "?…" } else { "" })
    }
}

/// A URL in parts, as they are written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UrlParts<'a> {
    /// In lower case.
    pub(crate) scheme: String,
    /// User name and password.
    pub(crate) userinfo: Option<&'a str>,
    /// With the brackets of an IPv6 address.
    pub(crate) host: &'a str,
    pub(crate) port: Option<&'a str>,
    /// Everything after the host and port: path, query and fragment.
    pub(crate) path: &'a str,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.shown())
    }
}

/// Authority and the rest. A password may contain an unescaped slash; an at sign before any question mark still ends it.
fn parts(rest: &str) -> (&str, &str) {
    let query = rest.find(['?', '#']).unwrap_or(rest.len());
    let user = rest[..query].rfind('@').map_or(0, |at| at + 1);
    let end = rest[user..].find(['/', '?', '#']).map_or(rest.len(), |n| user + n);
    rest.split_at(end)
}

/// User name, password and the query's values: as they are written, and as they are meant.
fn secrets(address: &str) -> Vec<String> {
    let Some((_, rest)) = address.split_once("://") else { return Vec::new() };
    let (authority, path) = parts(rest);
    let mut found: Vec<&str> = Vec::new();
    if let Some((user, _)) = authority.rsplit_once('@') {
        found.push(user);
        found.extend(user.split_once(':').map(|(_, password)| password));
    }
    if let Some((_, query)) = path.split_once('?') {
        found.extend(query.split('&').filter_map(|pair| pair.split_once('=')).map(|(_, value)| value));
    }
    let decoded: Vec<String> = found.iter().map(|s| decode(s)).collect();
    found.into_iter().map(String::from).chain(decoded).collect()
}

/// Decodes percent escapes: `%41` is `A`. Anything else stays.
pub(crate) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let code = bytes.get(i + 1..i + 3).and_then(|h| std::str::from_utf8(h).ok());
        match code.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) if bytes[i] == b'%' => {
                out.push(byte);
                i += 3;
            }
            _ => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Hides a secret in every text from now on.
pub fn keep_secret(secret: &str) {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if secret.len() >= LEAST && !known.iter().any(|k| k == secret) {
        known.push(secret.to_string());
        known.sort_by_key(|s| std::cmp::Reverse(s.len()));
    }
}

/// Removes credentials from a text: those of known addresses, and everything before the `@` or after the `?` of a URL.
pub fn hide(text: &str) -> String {
    let mut text = text.to_string();
    for secret in KNOWN.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        if text.contains(secret.as_str()) {
            text = text.replace(secret.as_str(), HIDDEN);
        }
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || "\"'<>`".contains(c)).unwrap_or(after.len());
        let (url, next) = after.split_at(end);
        let (authority, path) = parts(url);
        match authority.rsplit_once('@') {
            Some((_, host)) => out.push_str(&format!("{HIDDEN}@{host}")),
            None => out.push_str(authority),
        }
        match path.split_once('?') {
            Some((path, query)) if !query.is_empty() => {
                // What ends a clause belongs to the sentence around the URL.
                let end = query.trim_end_matches([':', ';', ',', '.']).len();
                out.push_str(&format!("{path}?{HIDDEN}{}", &query[end..]));
            }
            _ => out.push_str(path),
        }
        rest = next;
    }
    out.push_str(rest);
    out
}

/// Whether an input is a URL rather than a path.
pub fn is_url(input: &str) -> bool {
    input.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    })
}

/// Whether an address is one of an object store.
pub fn is_object(address: &str) -> bool {
    address.split_once("://").is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("s3"))
}

/// Forgets every secret, for the fuzz targets.
#[cfg(feature = "fuzzing")]
pub(crate) fn forget() {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_show_no_credentials() {
        for (address, shown) in [
            ("rtsp://admin:hunter22@cam/one", "rtsp://cam/one"),
            ("rtsp://admin@cam:554/one", "rtsp://cam:554/one"),
            ("rtsp://a:p@ss@cam/one", "rtsp://cam/one"),
            ("rtsp://a:p/ss@cam/one", "rtsp://cam/one"),
            ("https://cam/live.m3u8?token=abcdef", "https://cam/live.m3u8?…"),
            ("srt://cam:9000?passphrase=open-sesame&mode=caller", "srt://cam:9000?…"),
            ("rtsp://[::1]:554/x", "rtsp://[::1]:554/x"),
            ("/dev/video0", "/dev/video0"),
        ] {
            let address = Address::new(address);
            assert_eq!(address.to_string(), shown);
            assert_eq!(format!("{address:?}"), format!("Address({shown})"));
        }
    }

    #[test]
    fn urls_have_parts() {
        let parts = |text: &str| {
            let address = Address::new(text);
            address.url_parts().map(|p| {
                (
                    p.scheme.clone(),
                    p.userinfo.map(str::to_string),
                    p.host.to_string(),
                    p.port.map(str::to_string),
                    p.path.to_string(),
                )
            })
        };
        for (text, userinfo, host, port, path) in [
            ("RTSP://cam", None, "cam", None, ""),
            ("rtsp://u:p@cam:8554/x?y#z", Some("u:p"), "cam", Some("8554"), "/x?y#z"),
            ("rtsp://a:p@ss@cam/one", Some("a:p@ss"), "cam", None, "/one"),
            ("rtsp://a:p/ss@cam/one", Some("a:p/ss"), "cam", None, "/one"),
            ("rtsp://cam/live@home", None, "cam", None, "/live@home"),
            ("rtsp://[::1]:554/x", None, "[::1]", Some("554"), "/x"),
            ("rtsp://u@[::1]?x", Some("u"), "[::1]", None, "?x"),
        ] {
            let expected = (
                "rtsp".to_string(),
                userinfo.map(str::to_string),
                host.to_string(),
                port.map(str::to_string),
                path.to_string(),
            );
            assert_eq!(parts(text), Some(expected), "{text}");
        }
        assert_eq!(parts("/x/y://z"), None);
    }

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
        assert_eq!(hide("nothing here: a@b, http://host/x"), "nothing here: a@b, http://host/x");
        assert_eq!(hide("http://host/x?a=b: cannot be read"), "http://host/x?***: cannot be read");
    }

    #[test]
    fn urls_objects_and_paths_are_distinguished() {
        assert!(is_url("https://host/a.mp4") && is_url("rtsp://h/s"));
        assert!(!is_url("a:b.mp4") && !is_url("/x/y://z") && !is_url("://"));
        assert!(is_object("S3://a/b") && !is_object("https://a/b") && !is_object("s3:/a"));
    }
}
