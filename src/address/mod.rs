//! Addresses of inputs, paths and URLs alike, and texts without credentials.
//!
//! An [`Address`] shows no credentials, whether it is displayed, debugged or serialized. Only code that connects to it asks
//! for [all of it](Address::reveal). Texts from elsewhere (FFmpeg, a library, a server) go through [`hide`]. It removes user
//! names, passwords, queries and fragments of everything that looks like a URL, because a playlist can name addresses that
//! did not come from the user. It also removes the secrets of the addresses that this process was given, and its keys.

use std::convert::Infallible;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

mod hide;
mod secrets;

pub use hide::hide;
#[cfg(feature = "fuzzing")]
pub(crate) use secrets::forget;
pub(crate) use secrets::hide_these;
pub use secrets::keep_secret;
use secrets::{HIDDEN, SecretOrigin, encode_login, keep};

/// Why an address that [lacks its slashes](Address::lacks_slashes) is not opened.
pub(crate) const NO_SLASHES: &str = "no such file, and no address without `://` after its scheme";
/// Shortest user name, and shortest value of any query, that is hidden in every text, in bytes. Shorter ones are words like
/// any other.
const LEAST: usize = 8;
/// Schemes that are recognised even if the slashes are missing, so that a mistake does not show a password.
const SCHEMES: &[&str] = &[
    "ftp", "ftps", "http", "https", "icecast", "mms", "mmsh", "mmst", "openai", "rtmp", "rtmpe", "rtmps", "rtmpt",
    "rtmpts", "rtp", "rtsp", "rtsps", "s3", "satip", "sftp", "srt", "srtp", "tcp", "tls", "udp",
];
/// What the name of a parameter contains whose value is a secret.
const SECRET_NAMES: &[&str] =
    &["token", "sig", "key", "pass", "pwd", "secret", "auth", "credential", "session", "jwt", "hash", "policy"];
/// The path or URL of an input. `Display`, `Debug` and `Serialize` show no credentials.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(String);

impl Address {
    /// Takes an address as the user wrote it, and hides its credentials in every text from now on.
    pub fn new(address: impl Into<String>) -> Address {
        let address = Address(address.into());
        keep(address.secrets(), SecretOrigin::Given);
        address
    }

    /// Takes an address that a server or a playlist gave. Its credentials are hidden as long as it is likely to be used.
    pub(crate) fn led_to(address: impl Into<String>) -> Address {
        let address = Address(address.into());
        keep(address.secrets(), SecretOrigin::LedTo);
        address
    }

    /// Whether it is a URL rather than a path.
    pub fn is_url(&self) -> bool {
        is_url(&self.0)
    }

    /// Whether it is a path that is probably meant as a URL: it looks like `rtsp:user:password@camera` or
    /// `user:password@camera`.
    pub(crate) fn lacks_slashes(&self) -> bool {
        !self.0.contains("://") && Loose::of(&self.0).is_some()
    }

    /// Whether it names a user.
    pub(crate) fn has_login(&self) -> bool {
        match self.0.split_once("://") {
            Some((_, rest)) => parts(rest).0.contains('@'),
            None => Loose::of(&self.0).is_some_and(|loose| loose.login.is_some()),
        }
    }

    /// Whether its query has a parameter that authorises, by its name.
    pub(crate) fn is_signed(&self) -> bool {
        let query = self.0.split_once('?').map_or("", |(_, query)| query);
        query.split(['&', ';']).filter_map(|pair| pair.split_once('=')).any(|(name, _)| is_secret_name(name))
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

    /// All of it: for what connects to it, and never to be shown.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// A web address without user name and password, and the `Authorization` that they are.
    pub(crate) fn split_login(&self) -> (String, Option<String>) {
        match self.url_parts() {
            Some(UrlParts { scheme, userinfo: Some(login), host, port, path }) => {
                let port = port.map_or(String::new(), |port| format!(":{port}"));
                let login = if login.contains(':') { decode(login) } else { format!("{}:", decode(login)) };
                (format!("{scheme}://{host}{port}{path}"), Some(format!("Basic {}", encode_login(&login))))
            }
            _ => (self.0.clone(), None),
        }
    }

    /// A path as it is; of a URL scheme, host and path.
    pub fn shown(&self) -> String {
        if let Some(at) = self.0.find("://") {
            let (scheme, rest) = self.0.split_at(at + 3);
            let (authority, path) = parts(rest);
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            return format!("{scheme}{host}{}", shown_path(path));
        }
        match Loose::of(&self.0) {
            Some(Loose { before, login, after }) => {
                format!("{before}{}{}", login.map_or("", |_| HIDDEN), shown_path(after))
            }
            None => self.0.clone(),
        }
    }

    /// Where a browser finds it: the absolute path of a file, or a web address that has neither credentials nor a query. None
    /// elsewhere.
    pub(crate) fn location(&self) -> Option<String> {
        if self.shown() != self.0 {
            return None;
        }
        if self.is_url() {
            return ["http://", "https://"].iter().any(|scheme| self.0.starts_with(scheme)).then(|| self.0.clone());
        }
        let path = Path::new(&self.0);
        let path = path.metadata().is_ok_and(|found| found.is_file()).then(|| std::path::absolute(path).ok())??;
        path.to_str().map(str::to_string)
    }

    /// User name and password, their header, and what a query and a fragment hold: as they are meant.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let mut found = Address::secrets_in(&self.0);
        // Libraries that follow the URL standard leave these characters out before they send anything.
        let standard = self.0.trim_matches(|c| c <= ' ').replace(['\t', '\n', '\r'], "");
        if standard != self.0 {
            found.extend(Address::secrets_in(&standard));
        }
        found
    }

    fn secrets_in(address: &str) -> Vec<String> {
        let (login, path) = match (address.split_once("://"), Loose::of(address)) {
            (Some((_, rest)), _) => {
                let (authority, path) = parts(rest);
                (authority.rsplit_once('@').map(|(login, _)| login), path)
            }
            (None, Some(loose)) => (loose.login, loose.after),
            (None, None) => return Vec::new(),
        };
        let mut found = Vec::new();
        // Servers and libraries end a login at the first slash, and others at the last at sign: both are secrets. By the URL
        // standard, slashes before it do not count, and a backslash is one.
        let slashes = ['/', '\\'];
        let login = login.map(|login| login.trim_start_matches(slashes));
        let strict = login.and_then(|login| login.split_once(slashes)).and_then(|(head, _)| head.rsplit_once('@'));
        for login in login.into_iter().chain(strict.map(|(login, _)| login)) {
            found.extend(meant(login));
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            found.extend(meant(password));
            // Some libraries send it as it is written. The padding may be missing.
            let pair = format!("{user}:{password}");
            found.extend([&decode(&pair), &pair].map(|pair| encode_login(pair).trim_end_matches('=').to_string()));
            found.extend(Some(decode(user)).filter(|user| user.len() >= LEAST));
        }
        let (path, fragment) = path.split_once('#').unwrap_or((path, ""));
        found.extend(
            Some(fragment).into_iter().chain(fragment.split(['&', '='])).filter(|f| f.len() >= LEAST).flat_map(meant),
        );
        for pair in path.split_once('?').map_or("", |(_, query)| query).split(['&', ';']) {
            let (name, value) = pair.split_once('=').unwrap_or(("", pair));
            found.extend(meant(value).filter(|value| value.len() >= LEAST || is_secret_name(name)));
        }
        found
    }
}

impl From<&str> for Address {
    fn from(address: &str) -> Address {
        Address::new(address)
    }
}

impl From<String> for Address {
    fn from(address: String) -> Address {
        Address::new(address)
    }
}

impl FromStr for Address {
    type Err = Infallible;

    /// See [`Address::new`].
    fn from_str(address: &str) -> Result<Address, Infallible> {
        Ok(Address::new(address))
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.shown())
    }
}

impl<'de> Deserialize<'de> for Address {
    /// See [`Address::new`].
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Address, D::Error> {
        String::deserialize(from).map(Address::new)
    }
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

/// A URL in parts, as they are written.
#[derive(PartialEq, Eq)]
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

/// Authority and the rest. A password may contain an unescaped slash; an at sign before any question mark still ends it.
fn parts(rest: &str) -> (&str, &str) {
    let strict = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // A host alone. With a colon it may be the beginning of a user name and a password.
    if strict > 0 && rest[..strict].bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)) {
        return rest.split_at(strict);
    }
    let query = rest.find(['?', '#']).unwrap_or(rest.len());
    let user = rest[..query].rfind('@').map_or(0, |at| at + 1);
    let end = rest[user..].find(['/', '?', '#']).map_or(rest.len(), |n| user + n);
    rest.split_at(end)
}

/// A path, and that there is a query or a fragment.
fn shown_path(path: &str) -> String {
    let end = path.find(['?', '#']).unwrap_or(path.len());
    let (path, more) = path.split_at(end);
    match more.as_bytes() {
        [b'?', _, ..] => format!("{path}?…"),
        [b'#', _, ..] => format!("{path}#…"),
        _ => path.into(),
    }
}

/// An address whose slashes are missing, in a text without spaces.
struct Loose<'a> {
    /// What may be shown: nothing, or the scheme.
    before: &'a str,
    login: Option<&'a str>,
    /// From the at sign on.
    after: &'a str,
}

impl Loose<'_> {
    /// None if the text does not look like one. A name and a password are recognised after any scheme and after none; a name
    /// alone, and a query, after a known scheme.
    fn of(text: &str) -> Option<Loose<'_>> {
        let colon = text.find(':')?;
        let start = text[..colon].rfind('=').map_or(0, |at| at + 1);
        let start = text[start..colon].rfind("//").map_or(start, |at| start + at + 2);
        let head = &text[start..colon];
        // What FFmpeg calls a file and a camera.
        if head == "file" || head == "v4l2" {
            return None;
        }
        // A model of the hub, `hf:OWNER/NAME@REV`.
        let before_at = text[colon + 1..].split('@').next().unwrap_or_default();
        if head == "hf" && before_at.split('/').count() == 2 && !before_at.contains(':') {
            return None;
        }
        if head.is_empty() || head.contains(['/', '\\', '@', ' ', '?', '#', '(', '[']) {
            return None;
        }
        let rest = &text[colon + 1..];
        let known = SCHEMES.iter().any(|scheme| head.eq_ignore_ascii_case(scheme));
        // A drive of Windows is no user name, and neither is a host before a path.
        if !known && rest.starts_with(['/', '\\', ' ']) {
            return None;
        }
        let query = rest.find(['?', '#']).unwrap_or(rest.len());
        let at = rest[..query].rfind('@');
        let slashes = if known { rest.len() - rest.trim_start_matches('/').len() } else { 0 };
        match at {
            Some(at) if known => {
                let login = colon + 1 + slashes;
                let end = (colon + 1 + at).max(login);
                Some(Loose { before: &text[..=colon], login: Some(&text[login..end]), after: &rest[at..] })
            }
            Some(at) => {
                Some(Loose { before: &text[..start], login: Some(&text[start..colon + 1 + at]), after: &rest[at..] })
            }
            None if known && query + 1 < rest.len() => {
                Some(Loose { before: &text[..colon + 1 + query], login: None, after: &rest[query..] })
            }
            None => None,
        }
    }
}

/// Whether a parameter's value is a secret, by its name.
fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_NAMES.iter().any(|secret| name.contains(secret))
}

/// What a part of an address means, and the part as it is written if not all of its escapes mean characters.
fn meant(part: &str) -> impl Iterator<Item = String> {
    let decoded = decode(part);
    let written = decoded.contains('\u{fffd}').then(|| part.to_string());
    written.into_iter().chain([decoded])
}

/// Decodes percent escapes: `%41` is `A`. Anything else stays.
pub(crate) fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_find_files_and_public_web_addresses() {
        let of = |address: &str| Address::new(address).location();
        let own = std::env::current_dir().unwrap().join("Cargo.toml");
        assert_eq!(of("Cargo.toml").as_deref(), own.to_str());
        assert_eq!(of("https://h/a b.mp4").as_deref(), Some("https://h/a b.mp4"));
        for address in [
            "https://u:p@h/a.mp4",
            "https://h/a.mp4?k=v",
            "https://h/a.mp4#t",
            "s3://b/a.mp4",
            "rtsp://h/a",
            "src",
            "no.mp4",
        ] {
            assert_eq!(of(address), None, "{address}");
        }
    }

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
            ("RTSP://u:p@[::1]/x#t0ken", "RTSP://[::1]/x#…"),
            ("https://h/x?a#b", "https://h/x?…"),
            ("https://h/x#", "https://h/x"),
            ("rtsp://u:pass/w0rd@cam", "rtsp://cam"),
            ("rtsp://u:12/34@cam", "rtsp://cam"),
            ("rtsp://u:p]/x@cam", "rtsp://cam"),
            ("rtsp:///u:p@cam/x", "rtsp://cam/x"),
            ("https://site.example/@me/film@2x.mp4", "https://site.example/@me/film@2x.mp4"),
            ("rtsp:u:p@cam/x", "rtsp:***@cam/x"),
            ("rtsp:u:p/w@cam/x", "rtsp:***@cam/x"),
            ("rtsp:t0ken@cam", "rtsp:***@cam"),
            ("HTTP:/u:p@cam/x?k", "HTTP:***@cam/x?…"),
            ("http:/cam/x?k", "http:/cam/x?…"),
            ("openai:u:p@host/v1", "openai:***@host/v1"),
            ("u:p@host/v1#x", "***@host/v1#…"),
            ("film:u:p@x", "***@x"),
            ("rtsp//u:p@cam", "rtsp//***@cam"),
            ("//u:p@cam/x", "//***@cam/x"),
            ("http:film.mp4", "http:film.mp4"),
            ("file:me@home.mp4", "file:me@home.mp4"),
            ("hf:owner/name@main", "hf:owner/name@main"),
            ("hf:passw0rd@cam/x", "***@cam/x"),
            ("me@home: 1.mp4", "me@home: 1.mp4"),
            ("a/b:c@d.mp4", "a/b:c@d.mp4"),
            ("C:\\me@home.mp4", "C:\\me@home.mp4"),
            ("Part 1: you@me.mp4", "Part 1: you@me.mp4"),
            ("/dev/video0", "/dev/video0"),
        ] {
            let address = Address::new(address);
            assert_eq!(address.to_string(), shown);
            assert_eq!(format!("{address:?}"), format!("Address({shown})"));
            assert_eq!(serde_json::to_value(&address).unwrap(), shown);
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
    fn logins_are_sent_as_they_are_meant() {
        let split = |text: &str| Address::new(text).split_login();
        let header = Some("Basic dXNlcjpwYS9zcw==".to_string());
        assert_eq!(split("HTTP://us%65r:pa%2Fss@[::1]:1/x?y#z"), ("http://[::1]:1/x?y#z".into(), header));
        assert_eq!(split("http://t@h"), ("http://h".into(), Some("Basic dDo=".into())));
        assert_eq!(split("http://h/a@b"), ("http://h/a@b".into(), None));
    }

    #[test]
    fn urls_objects_and_paths_are_distinguished() {
        assert!(is_url("https://host/a.mp4") && is_url("rtsp://h/s"));
        assert!(!is_url("a:b.mp4") && !is_url("/x/y://z") && !is_url("://"));
        assert!(is_object("S3://a/b") && !is_object("https://a/b") && !is_object("s3:/a"));
    }
}
