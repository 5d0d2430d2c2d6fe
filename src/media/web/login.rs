//! Logging in at a web server: Basic and Digest (RFC 7617, RFC 7616, RFC 2617).
//!
//! Nothing is sent before the server asks for it, and a password only if the server knows no digests.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_auth::{ChallengeRef, parser::ChallengeParser};
use md5::Md5;
use sha2::Sha256;

/// User name and password, as they are meant and not as a URL escapes them. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct WebCredentials {
    pub(crate) user: String,
    pub(crate) password: String,
}

/// What a server asked for, and how often it was answered.
pub(crate) struct WebLogin {
    login: WebCredentials,
    scheme: Option<LoginScheme>,
}

enum LoginScheme {
    Basic,
    Digest { realm: String, nonce: String, opaque: Option<String>, qop: bool, sha256: bool, named: bool, uses: u32 },
}

impl WebLogin {
    pub(crate) fn new(login: WebCredentials) -> WebLogin {
        WebLogin { login, scheme: None }
    }

    /// Reads what an answer with status 401 asks for: its headers `WWW-Authenticate`. Returns whether that can be answered.
    pub(crate) fn challenge<'a>(&mut self, asked: impl IntoIterator<Item = &'a str>) -> bool {
        let challenges = asked.into_iter().flat_map(|value| ChallengeParser::new(value).filter_map(Result::ok));
        // The strongest that is known.
        self.scheme =
            challenges.filter_map(|challenge| LoginScheme::read(&challenge)).max_by_key(LoginScheme::strength);
        self.scheme.is_some()
    }

    /// The header `Authorization` of a request, once the server has asked for it. `random` is a new nonce of the client.
    pub(crate) fn authorization(&mut self, method: &str, uri: &str, random: u64) -> Option<String> {
        let WebCredentials { user, password } = &self.login;
        match self.scheme.as_mut()? {
            LoginScheme::Basic => Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))),
            LoginScheme::Digest { realm, nonce, opaque, qop, sha256, named, uses } => {
                *uses += 1;
                let hash = if *sha256 { hex::<Sha256> } else { hex::<Md5> };
                let (secret, request) = (hash(&format!("{user}:{realm}:{password}")), hash(&format!("{method}:{uri}")));
                let (count, own) = (format!("{uses:08x}"), format!("{random:016x}"));
                let response = if *qop {
                    hash(&format!("{secret}:{nonce}:{count}:{own}:auth:{request}"))
                } else {
                    hash(&format!("{secret}:{nonce}:{request}"))
                };
                let mut text = format!(
                    "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{}\", response=\"{response}\"",
                    quoted(user),
                    quoted(realm),
                    quoted(nonce),
                    quoted(uri)
                );
                if *named {
                    text.push_str(if *sha256 { ", algorithm=SHA-256" } else { ", algorithm=MD5" });
                }
                if *qop {
                    let _ = write!(text, ", qop=auth, nc={count}, cnonce=\"{own}\"");
                }
                if let Some(opaque) = opaque {
                    let _ = write!(text, ", opaque=\"{}\"", quoted(opaque));
                }
                Some(text)
            }
        }
    }
}

impl LoginScheme {
    /// None if it is not supported.
    fn read(challenge: &ChallengeRef<'_>) -> Option<LoginScheme> {
        if challenge.scheme.eq_ignore_ascii_case("Basic") {
            return Some(LoginScheme::Basic);
        }
        if !challenge.scheme.eq_ignore_ascii_case("Digest") {
            return None;
        }
        let algorithm = parameter(challenge, "algorithm");
        let sha256 = match algorithm.as_deref() {
            None => false,
            Some(name) if name.eq_ignore_ascii_case("MD5") => false,
            Some(name) if name.eq_ignore_ascii_case("SHA-256") => true,
            Some(_) => return None,
        };
        let qop = match parameter(challenge, "qop") {
            None => false,
            Some(list) if list.split(',').any(|q| q.trim().eq_ignore_ascii_case("auth")) => true,
            Some(list) if list.trim().is_empty() => false,
            Some(_) => return None,
        };
        Some(LoginScheme::Digest {
            realm: parameter(challenge, "realm")?,
            nonce: parameter(challenge, "nonce")?,
            opaque: parameter(challenge, "opaque"),
            qop,
            sha256,
            named: algorithm.is_some(),
            uses: 0,
        })
    }

    fn strength(&self) -> u8 {
        match self {
            LoginScheme::Basic => 0,
            LoginScheme::Digest { sha256, .. } => 1 + u8::from(*sha256),
        }
    }
}

fn parameter(challenge: &ChallengeRef<'_>, name: &str) -> Option<String> {
    challenge.params.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_unescaped())
}

fn hex<D: sha2::Digest>(text: &str) -> String {
    let mut hex = String::new();
    for byte in D::digest(text.as_bytes()) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(user: &str, password: &str) -> WebLogin {
        WebLogin::new(WebCredentials { user: user.into(), password: password.into() })
    }

    #[test]
    fn the_examples_of_the_standards_hold() {
        let mut basic = auth("Aladdin", "open sesame");
        assert!(basic.challenge(["Basic realm=\"x\""]));
        assert_eq!(basic.authorization("DESCRIBE", "rtsp://h/x", 1).unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        // RFC 2617, 3.5, without qop as in RFC 2069.
        let mut old = auth("Mufasa", "Circle Of Life");
        assert!(old.challenge(["Digest realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\""]));
        let header = old.authorization("GET", "/dir/index.html", 1).unwrap();
        assert!(header.contains("response=\"670fd8c2df070c60b045671b8b24ff02\""), "{header}");
    }

    #[test]
    fn the_strongest_scheme_that_is_known_is_used() {
        let mut auth = auth("u", "p");
        let nonce = "realm=\"r\", nonce=\"n\"";
        assert!(auth.challenge([
            "Basic realm=\"r\"",
            &format!("Digest {nonce}, algorithm=MD5"),
            &format!("Digest {nonce}, qop=\"auth-int, auth\", algorithm=SHA-256, opaque=\"o\""),
            &format!("Digest {nonce}, algorithm=SHA-512-256"),
        ]));
        let header = auth.authorization("PLAY", "rtsp://h/x", 0xabc).unwrap();
        for part in [
            "algorithm=SHA-256",
            "qop=auth, nc=00000001",
            "cnonce=\"0000000000000abc\"",
            "opaque=\"o\"",
            "uri=\"rtsp://h/x\"",
        ] {
            assert!(header.contains(part), "{header}");
        }
        let secret = hex::<Sha256>("u:r:p");
        let request = hex::<Sha256>("PLAY:rtsp://h/x");
        let response = hex::<Sha256>(&format!("{secret}:n:00000001:0000000000000abc:auth:{request}"));
        assert!(header.contains(&format!("response=\"{response}\"")), "{header}");
        assert!(auth.authorization("PLAY", "rtsp://h/x", 1).unwrap().contains("nc=00000002"));
    }

    #[test]
    fn challenges_that_are_not_understood_are_not_answered() {
        let mut auth = auth("u", "p");
        assert!(auth.authorization("OPTIONS", "*", 1).is_none());
        for unknown in
            ["Negotiate", "\u{7f}", "Digest realm=\"r\"", "Digest realm=\"r\", nonce=\"n\", qop=\"auth-int\""]
        {
            assert!(!auth.challenge([unknown]), "{unknown}");
            assert!(auth.authorization("OPTIONS", "*", 1).is_none());
        }
    }
}
