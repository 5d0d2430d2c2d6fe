//! Cookies of one input: what a server sets with a playlist, it may want back with each segment.
//!
//! Kept as long as the input is open, and sent back only to the host that set them, or to those below a domain that the
//! host belongs to. Memory: at most [`MOST`] cookies of [`LONGEST`] bytes.

use reqwest::Url;

/// Most cookies of an input.
const MOST: usize = 64;
/// Longest cookie in bytes (RFC 6265, 6.1).
const LONGEST: usize = 4096;

/// Cookies that servers have set.
#[derive(Debug, Default)]
pub(super) struct Cookies(Vec<Cookie>);

#[derive(Debug)]
struct Cookie {
    name: String,
    value: String,
    domain: String,
    /// Sent to hosts below the domain too.
    below: bool,
    path: String,
    secure: bool,
}

impl Cookies {
    /// Reads a header `Set-Cookie` of an answer from `url`.
    pub(super) fn set(&mut self, url: &Url, header: &str) {
        let Some(cookie) = Cookie::read(url, header).filter(|_| header.len() <= LONGEST) else { return };
        self.0.retain(|c| (&c.name, &c.domain, &c.path) != (&cookie.name, &cookie.domain, &cookie.path));
        if self.0.len() < MOST && !cookie.is_removal(header) {
            self.0.push(cookie);
        }
    }

    /// The header `Cookie` of a request for `url`, if there is one.
    pub(super) fn header(&self, url: &Url) -> Option<String> {
        let host = url.host_str()?;
        let sent = self.0.iter().filter(|c| {
            let domain = host == c.domain || (c.below && is_below(host, &c.domain));
            let path = url.path().strip_prefix(c.path.as_str());
            let path = path.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || c.path.ends_with('/'));
            domain && path && (!c.secure || url.scheme() == "https")
        });
        let pairs: Vec<String> = sent.map(|c| format!("{}={}", c.name, c.value)).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

impl Cookie {
    fn read(url: &Url, header: &str) -> Option<Cookie> {
        let host = url.host_str()?;
        let mut parts = header.split(';').map(str::trim);
        let (name, value) = parts.next()?.split_once('=')?;
        let folder = url.path().rfind('/').map_or("/", |at| &url.path()[..at.max(1)]);
        let mut cookie = Cookie {
            name: name.trim().to_string(),
            value: value.trim().to_string(),
            domain: host.to_string(),
            below: false,
            path: folder.to_string(),
            secure: false,
        };
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            match key.trim().to_ascii_lowercase().as_str() {
                "domain" => {
                    let domain = value.trim().trim_start_matches('.').to_ascii_lowercase();
                    // A whole top level is nobody's domain.
                    if !domain.contains('.') || (domain != host && !is_below(host, &domain)) {
                        return None;
                    }
                    (cookie.domain, cookie.below) = (domain, true);
                }
                "path" if value.trim().starts_with('/') => cookie.path = value.trim().to_string(),
                "secure" => cookie.secure = true,
                _ => {}
            }
        }
        (!cookie.name.is_empty()).then_some(cookie)
    }

    /// Whether the header removes the cookie.
    fn is_removal(&self, header: &str) -> bool {
        header.split(';').skip(1).any(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            key.trim().eq_ignore_ascii_case("max-age") && value.trim().parse::<i64>().is_ok_and(|age| age <= 0)
        })
    }
}

/// Whether a host is below a domain. An address is below nothing.
fn is_below(host: &str, domain: &str) -> bool {
    let below = host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    below && !host.starts_with('[') && host.parse::<std::net::IpAddr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn cookies_go_back_to_their_host_and_domain_only() {
        let mut jar = Cookies::default();
        jar.set(&url("https://play.cdn.example/live/a.m3u8"), "own=1");
        jar.set(&url("https://play.cdn.example/live/a.m3u8"), "all=2; Domain=.cdn.example; Path=/");
        jar.set(&url("https://play.cdn.example/live/a.m3u8"), "safe=3; Secure; Path=/");
        jar.set(&url("https://play.cdn.example/live/a.m3u8"), "stolen=4; Domain=example");
        jar.set(&url("https://play.cdn.example/live/a.m3u8"), "stolen=5; Domain=other.example");
        let header = |text: &str| jar.header(&url(text)).unwrap_or_default();
        assert_eq!(header("https://play.cdn.example/live/1.ts"), "own=1; all=2; safe=3");
        assert_eq!(header("https://play.cdn.example/lively"), "all=2; safe=3");
        assert_eq!(header("http://play.cdn.example/"), "all=2");
        assert_eq!(header("https://media.cdn.example/1.ts"), "all=2");
        assert_eq!(header("https://evilcdn.example/1.ts"), "");
    }

    #[test]
    fn cookies_are_replaced_removed_and_bounded() {
        let here = url("http://host.example/a/b");
        let mut jar = Cookies::default();
        jar.set(&here, "a=1");
        jar.set(&here, "a=2");
        assert_eq!(jar.header(&here).unwrap(), "a=2");
        jar.set(&here, "a=x; Max-Age=0");
        assert_eq!(jar.header(&here), None);
        for n in 0..2 * MOST {
            jar.set(&here, &format!("n{n}={}", "x".repeat(n * 50)));
        }
        assert!(jar.0.len() <= MOST && jar.0.iter().all(|c| c.value.len() <= LONGEST));
    }
}
