//! The cookie of a browser that has shown the token.
//!
//! A cookie is the time at which it ends, and a code over that time under a key that this process drew at random. It says
//! nothing about the token, so that nobody can try tokens by making cookies of them, and it ends with the process. The
//! browser forgets it when it closes; the server accepts it for seven days, and renews it each day that it is used.

use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderValue};
use ring::{hmac, rand};

use crate::digest::hex;

/// How long a cookie is accepted.
const LIFE: Duration = Duration::from_secs(7 * 86_400);
/// A cookie of this age is replaced by a new one.
const RENEWED: Duration = Duration::from_secs(86_400);

/// Makes and checks cookies.
pub(super) struct Sessions {
    key: hmac::Key,
    /// Cookies count seconds from here.
    began: Instant,
    name: String,
}

/// A cookie that is accepted.
#[derive(Debug, PartialEq)]
pub(super) struct Session {
    /// Whether it is to be renewed.
    pub(super) is_old: bool,
}

impl Sessions {
    /// `port`: where the server listens. Browsers do not keep the cookies of two ports apart, so the name does.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub(super) fn new(port: u16, now: Instant) -> Result<Sessions, ring::error::Unspecified> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new())?;
        Ok(Sessions { key, began: now, name: format!("descry_{port}") })
    }

    /// A new cookie, for the header `Set-Cookie`. A browser that came by HTTPS, as its proxy says, sends it by HTTPS only.
    pub(super) fn cookie(&self, headers: &HeaderMap, now: Instant) -> Option<HeaderValue> {
        let end = (now + LIFE).saturating_duration_since(self.began).as_secs();
        let code = hex(hmac::sign(&self.key, &end.to_be_bytes()).as_ref());
        let secure = if is_https(headers) { "; Secure" } else { "" };
        let cookie = format!("{}={end}.{code}; Path=/; HttpOnly; SameSite=Strict{secure}", self.name);
        HeaderValue::from_str(&cookie).ok()
    }

    /// The session of a request, where one of its cookies is of this process and has not ended.
    pub(super) fn find(&self, headers: &HeaderMap, now: Instant) -> Option<Session> {
        let cookies = headers.get_all("cookie").iter().flat_map(|h| h.as_bytes().split(|b| *b == b';'));
        let own = cookies.filter_map(|c| c.trim_ascii().strip_prefix(self.name.as_bytes())?.strip_prefix(b"="));
        own.filter_map(|value| self.check(value, now)).next()
    }

    fn check(&self, value: &[u8], now: Instant) -> Option<Session> {
        let (end, code) = std::str::from_utf8(value).ok()?.split_once('.')?;
        let end: u64 = end.parse().ok()?;
        let code = unhex::<32>(code)?;
        hmac::verify(&self.key, &end.to_be_bytes(), &code).ok()?;
        let left = Duration::from_secs(end).checked_sub(now.saturating_duration_since(self.began))?;
        Some(Session { is_old: left + RENEWED <= LIFE })
    }
}

/// The bytes of a hexadecimal number of this length.
pub(super) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// Whether a proxy reports that the browser came by HTTPS.
fn is_https(headers: &HeaderMap) -> bool {
    let has = |name: &str, wanted: &str| {
        let mut values = headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
        values.any(|v| v.to_ascii_lowercase().split([',', ';']).any(|part| part.trim() == wanted))
    };
    has("x-forwarded-proto", "https") || has("forwarded", "proto=https")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn cookies_end_and_are_renewed_in_time() {
        let start = Instant::now();
        let sessions = Sessions::new(8080, start).unwrap();
        let set = sessions.cookie(&HeaderMap::new(), start).unwrap().to_str().unwrap().to_string();
        assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{set}");
        let pair = set.split(';').next().unwrap();
        let request = headers("cookie", &format!("a=b; {pair};c"));
        let after = |s: &Sessions, hours: u64| s.find(&request, start + Duration::from_secs(hours * 3_600));
        assert_eq!(after(&sessions, 0), Some(Session { is_old: false }));
        assert_eq!(after(&sessions, 23), Some(Session { is_old: false }));
        assert_eq!(after(&sessions, 24), Some(Session { is_old: true }));
        assert_eq!(after(&sessions, 7 * 24), Some(Session { is_old: true }));
        assert_eq!(after(&sessions, 7 * 24 + 1), None);
        // Another process, another port.
        assert_eq!(after(&Sessions::new(8080, start).unwrap(), 0), None);
        let other = Sessions { name: "descry_81".into(), ..sessions };
        assert_eq!(after(&other, 0), None);
    }

    #[test]
    fn cookies_that_were_changed_are_refused() {
        let now = Instant::now();
        let sessions = Sessions::new(1, now).unwrap();
        let set = sessions.cookie(&HeaderMap::new(), now).unwrap().to_str().unwrap().to_string();
        let (end, code) = set["descry_1=".len()..].split(';').next().unwrap().split_once('.').unwrap();
        assert!(sessions.check(format!("{end}.{code}").as_bytes(), now).is_some());
        let longer = end.parse::<u64>().unwrap() + 1;
        for wrong in
            [format!("{longer}.{code}"), format!("{end}.{}", &code[..62]), format!("{end}."), end.into(), "".into()]
        {
            assert_eq!(sessions.check(wrong.as_bytes(), now), None, "{wrong}");
        }
    }

    #[test]
    fn a_browser_that_came_by_https_sends_its_cookie_by_https_only() {
        let sessions = Sessions::new(1, Instant::now()).unwrap();
        let secure = |headers: &HeaderMap| {
            sessions.cookie(headers, Instant::now()).unwrap().to_str().unwrap().ends_with("; Secure")
        };
        assert!(secure(&headers("x-forwarded-proto", "https")));
        assert!(secure(&headers("forwarded", "for=192.0.2.1; Proto=HTTPS")));
        assert!(!secure(&headers("x-forwarded-proto", "http")));
        assert!(!secure(&HeaderMap::new()));
    }
}
