//! Servers that a relay can reach, by address.

use crate::address::{Address, UrlParts, decode};
use crate::media::access::Place;
use crate::media::web::WebCredentials;

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Rtsp,
    Rtmp,
}

/// A server, and what is asked of it.
#[derive(Clone)]
pub(super) struct RelayTarget {
    pub(super) dialect: Dialect,
    /// Over TLS.
    pub(super) secure: bool,
    pub(super) place: Place,
    /// Only for RTSP: FFmpeg itself logs in at an RTMP server.
    pub(super) login: Option<WebCredentials>,
    /// User name and password as they stand in the address, with their `@`.
    userinfo: String,
    /// Path and query.
    pub(super) path: String,
}

impl RelayTarget {
    /// The server of an address; none if it is not one of RTSP or RTMP.
    ///
    /// # Errors
    /// In words, if the address cannot be one.
    pub(super) fn new(address: &Address) -> Result<Option<RelayTarget>, String> {
        let Some(UrlParts { scheme, userinfo, host, port, path }) = address.url_parts() else { return Ok(None) };
        let (dialect, secure, usual) = match scheme.as_str() {
            "rtsp" => (Dialect::Rtsp, false, 554),
            "rtsps" => (Dialect::Rtsp, true, 322),
            "rtmp" => (Dialect::Rtmp, false, 1935),
            "rtmps" => (Dialect::Rtmp, true, 443),
            _ => return Ok(None),
        };
        if host.is_empty() {
            return Err("the address names no host".into());
        }
        if host.contains(':') && !host.starts_with('[') {
            return Err("the address has too many colons: put an IPv6 address in brackets".into());
        }
        let port = match port {
            None | Some("") => usual,
            Some(port) => port.parse().map_err(|_| "the address has an impossible port")?,
        };
        let login = userinfo.map(|text| {
            let (user, password) = text.split_once(':').unwrap_or((text, ""));
            WebCredentials { user: decode(user), password: decode(password) }
        });
        Ok(Some(RelayTarget {
            dialect,
            secure,
            place: Place::new(host, port),
            login,
            userinfo: userinfo.map(|text| format!("{text}@")).unwrap_or_default(),
            // What is after a `#` is not sent.
            path: path.split('#').next().unwrap_or_default().to_string(),
        }))
    }

    /// Scheme, host and port, as the server knows them.
    pub(super) fn origin(&self) -> String {
        let scheme = match (self.dialect, self.secure) {
            (Dialect::Rtsp, false) => "rtsp",
            (Dialect::Rtsp, true) => "rtsps",
            (Dialect::Rtmp, false) => "rtmp",
            (Dialect::Rtmp, true) => "rtmps",
        };
        let (host, port) = (self.place.host(), self.place.port());
        if host.contains(':') { format!("{scheme}://[{host}]:{port}") } else { format!("{scheme}://{host}:{port}") }
    }

    /// What FFmpeg opens instead, at a relay with this host and port.
    pub(super) fn local(&self, relay: &str) -> String {
        match self.dialect {
            Dialect::Rtsp => format!("rtsp://{relay}{}", self.path),
            Dialect::Rtmp => format!("rtmp://{}{relay}{}", self.userinfo, self.path),
        }
    }

    /// The address that an RTMP client names when it connects: the server's, and the application, which FFmpeg takes from
    /// the path in the same way.
    pub(super) fn tc_url(&self) -> String {
        let path = self.path.strip_prefix('/').unwrap_or(&self.path);
        let list = path.split_once('?').is_some_and(|(_, query)| query.contains("slist="));
        let app = match path.split_once('/') {
            _ if list => path,
            _ if path.starts_with("ondemand/") => "ondemand",
            None => path,
            Some((first, rest)) => {
                let (second, colon) = (rest.find('/'), rest.find(':'));
                match second {
                    Some(at) if colon.is_none_or(|colon| at < colon) => &path[..first.len() + 1 + at],
                    _ => first,
                }
            }
        };
        format!("{}/{app}", self.origin())
    }

    /// The server of a redirect. It gets the credentials only if it is the same server and as secure.
    ///
    /// # Errors
    /// In words, if a server must not lead there.
    pub(super) fn redirect(&self, location: &str) -> Result<RelayTarget, String> {
        let address = Address::led_to(location);
        let found = RelayTarget::new(&address)?.filter(|found| found.dialect == self.dialect);
        let Some(mut target) = found else { return Err(format!("it leads to {address}, which is not RTSP")) };
        if self.secure && !target.secure {
            return Err(format!("it leads to {address}, which is not secure"));
        }
        if target.place == self.place && target.secure == self.secure && target.login.is_none() {
            target.login.clone_from(&self.login);
        }
        Ok(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(address: &str) -> RelayTarget {
        RelayTarget::new(&Address::new(address)).unwrap().unwrap()
    }

    #[test]
    fn addresses_become_servers() {
        let t = target("RTSPS://us%65r:p%40ss@[2001:DB8::1]/live/one?k=v&x=/y#z");
        assert_eq!((t.origin(), &*t.path), ("rtsps://[2001:db8::1]:322".into(), "/live/one?k=v&x=/y"));
        let login = t.login.clone().unwrap();
        assert_eq!((&*login.user, &*login.password), ("user", "p@ss"));
        assert_eq!(t.local("127.0.0.1:9"), "rtsp://127.0.0.1:9/live/one?k=v&x=/y");
        assert_eq!(target("rtsp://Cam").local("127.0.0.1:9"), "rtsp://127.0.0.1:9");
        assert_eq!(target("rtsp://Cam").origin(), "rtsp://cam:554");
        assert_eq!(target("rtsp://a:p/ss@cam:8554/x").origin(), "rtsp://cam:8554");
        assert_eq!(target("rtmps://u:p@h/app/key").local("127.0.0.1:9"), "rtmp://u:p@127.0.0.1:9/app/key");
        for other in ["http://h/x", "/dev/video0", "srt://h:1", "rtsp.mp4"] {
            assert!(RelayTarget::new(&Address::new(other)).unwrap().is_none(), "{other}");
        }
        for wrong in ["rtsp:///x", "rtsp://h:99999/x", "rtsps://u:p@/x", "rtsp://h:1:2/x"] {
            assert!(RelayTarget::new(&Address::new(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_application_is_what_ffmpeg_takes() {
        for (path, app) in [
            ("", ""),
            ("/live", "live"),
            ("/live/key?token=x", "live"),
            ("/app/instance/key", "app/instance"),
            ("/app/mp4:a/b", "app"),
            ("/ondemand/a/b", "ondemand"),
            ("/a/b?slist=c&d", "a/b?slist=c&d"),
        ] {
            assert_eq!(target(&format!("rtmps://h{path}")).tc_url(), format!("rtmps://h:443/{app}"));
        }
    }

    #[test]
    fn redirects_lead_to_rtsp_alone_and_take_no_credentials_elsewhere() {
        let from = target("rtsps://user:password@cam/x");
        let same = from.redirect("rtsps://CAM:322/y").unwrap();
        assert_eq!((&*same.path, same.login.is_some()), ("/y", true));
        assert!(from.redirect("rtsps://cam:323/y").unwrap().login.is_none());
        assert!(from.redirect("rtsps://other/y").unwrap().login.is_none());
        assert!(target("rtsp://u:p@cam/x").redirect("rtsps://cam:554/y").unwrap().login.is_none());
        for wrong in ["rtsp://cam/y", "file:///etc/passwd", "/etc/passwd", "http://cam/y", "rtmps://cam/y", ""] {
            assert!(from.redirect(wrong).is_err(), "{wrong}");
        }
    }
}
