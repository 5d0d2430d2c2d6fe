//! Requests of one input, with their redirects, cookies and credentials.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, COOKIE, HeaderMap, LOCATION, RANGE, SET_COOKIE, WWW_AUTHENTICATE};
use reqwest::{Method, Response, StatusCode, Url};
use url::Origin;

use super::clients::{WebClients, WebTimes, place};
use super::cookies::Cookies;
use super::fault::explain;
use super::guard::{Lookup, system_lookup};
use super::login::{WebCredentials, WebLogin};
use crate::address::{Address, decode};
use crate::media::access::{AccessPolicy, Leads};
use crate::media::remote::{RemoteError, StopCheck, wait};

/// Longest time to connect. A server that is there answers within a second or two.
const CONNECT: Duration = Duration::from_secs(10);
/// Most servers whose way of logging in is remembered.
const MOST_LOGINS: usize = 16;
/// Most redirects of one request.
const MOST_REDIRECTS: usize = 8;

/// Which bytes a request asks for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WebRange {
    /// The first byte.
    pub(crate) start: u64,
    /// The byte after the last; none for all that there are.
    pub(crate) end: Option<u64>,
}

impl WebRange {
    fn header(self) -> String {
        let last = self.end.map_or(String::new(), |end| end.saturating_sub(1).to_string());
        format!("bytes={}-{last}", self.start)
    }
}

/// The connections of one input. Clones share them.
#[derive(Clone)]
pub(crate) struct WebClient {
    shared: Arc<WebShared>,
}

struct WebShared {
    clients: WebClients,
    /// The address that the user named, with its credentials.
    named: Url,
    cookies: Mutex<Cookies>,
    /// Servers that have asked for credentials.
    logins: Mutex<Vec<(Origin, WebLogin)>>,
    stop: StopCheck,
}

impl WebClient {
    /// A client for an input. Sends nothing yet.
    ///
    /// # Errors
    /// If the address is not one of a web server, or TLS cannot be used.
    pub(crate) fn new(address: &str, policy: &AccessPolicy, stop: StopCheck) -> Result<WebClient, RemoteError> {
        WebClient::with_lookup(address, policy, stop, system_lookup())
    }

    fn with_lookup(
        address: &str,
        policy: &AccessPolicy,
        stop: StopCheck,
        lookup: Lookup,
    ) -> Result<WebClient, RemoteError> {
        let named = parse(address)?;
        let leads = Leads::new(policy, Some(place(&named)?));
        let clients = WebClients::new(leads, lookup, WebTimes { connect: CONNECT, read: None, total: None })?;
        Ok(WebClient {
            shared: Arc::new(WebShared { clients, named, cookies: Mutex::default(), logins: Mutex::default(), stop }),
        })
    }

    /// The address that the user named.
    pub(crate) fn named(&self) -> &Url {
        &self.shared.named
    }

    /// Whether to stop.
    pub(super) fn stop(&self) -> &StopCheck {
        &self.shared.stop
    }

    /// Asks for some bytes, or for all without naming a range. Follows redirects.
    ///
    /// # Errors
    /// If there is no answer. An answer may be one of failure.
    pub(super) fn get(&self, url: &Url, range: Option<WebRange>) -> Result<Response, RemoteError> {
        wait(self.stop(), self.request(Method::GET, url.clone(), range))
    }

    /// The headers of an answer, without its body.
    ///
    /// # Errors
    /// If there is no answer, or one that is no success.
    pub(crate) fn head(&self) -> Result<HeaderMap, RemoteError> {
        let response = wait(self.stop(), self.request(Method::HEAD, self.named().clone(), None))?;
        check_status(&response)?;
        Ok(response.headers().clone())
    }

    async fn request(&self, method: Method, mut url: Url, range: Option<WebRange>) -> Result<Response, RemoteError> {
        for _ in 0..=MOST_REDIRECTS {
            let response = self.authorized(&method, &url, range).await?;
            let location = response.headers().get(LOCATION).filter(|_| is_redirect(response.status()));
            let Some(location) = location else { return Ok(response) };
            let location = String::from_utf8_lossy(location.as_bytes()).into_owned();
            let next =
                url.join(&location).map_err(|_| RemoteError::Other("it redirects to no valid address".into()))?;
            // Its credentials are hidden like those of any other address.
            Address::led_to(next.as_str());
            url = next;
        }
        Err(RemoteError::Other(format!("it redirects more than {MOST_REDIRECTS} times")))
    }

    /// Sends a request, and once more with credentials if the server asks for them.
    async fn authorized(&self, method: &Method, url: &Url, range: Option<WebRange>) -> Result<Response, RemoteError> {
        let known = self.authorization(method, url);
        let response = self.send(method, url, range, known).await?;
        if response.status() != StatusCode::UNAUTHORIZED || !self.challenge(url, &response) {
            return Ok(response);
        }
        let answer = self.authorization(method, url);
        drop(response);
        self.send(method, url, range, answer).await
    }

    /// The header with which a server is answered that has asked before.
    fn authorization(&self, method: &Method, url: &Url) -> Option<String> {
        let mut logins = self.logins();
        let (_, login) = logins.iter_mut().find(|(origin, _)| *origin == url.origin())?;
        let query = url.query().map_or(String::new(), |query| format!("?{query}"));
        login.authorization(method.as_str(), &format!("{}{query}", url.path()), fastrand::u64(..))
    }

    /// Takes in what a server asks for. Returns whether that can be answered.
    fn challenge(&self, url: &Url, response: &Response) -> bool {
        let Some(credentials) = self.credentials(url) else { return false };
        let mut login = WebLogin::new(credentials);
        let asked = response.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let can = login.challenge(asked);
        let mut logins = self.logins();
        logins.retain(|(origin, _)| *origin != url.origin());
        if can && logins.len() < MOST_LOGINS {
            logins.push((url.origin(), login));
        }
        can
    }

    fn logins(&self) -> MutexGuard<'_, Vec<(Origin, WebLogin)>> {
        self.shared.logins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// User name and password for an address: its own, or those of the input if it is on the same server.
    fn credentials(&self, url: &Url) -> Option<WebCredentials> {
        let named = self.named();
        let has_login = |url: &Url| !url.username().is_empty() || url.password().is_some();
        let of = match has_login(url) {
            true => url,
            false if has_login(named) && named.origin() == url.origin() => named,
            false => return None,
        };
        let (user, password) = (decode(of.username()), decode(of.password().unwrap_or_default()));
        Some(WebCredentials { user, password })
    }

    async fn send(
        &self,
        method: &Method,
        url: &Url,
        range: Option<WebRange>,
        authorization: Option<String>,
    ) -> Result<Response, RemoteError> {
        let client = self.shared.clients.pick(url, false).await?;
        let mut bare = url.clone();
        // The HTTP library would send them unasked.
        let _ = bare.set_username("");
        let _ = bare.set_password(None);
        bare.set_fragment(None);
        let mut request = client.request(method.clone(), bare);
        if let Some(range) = range {
            request = request.header(RANGE, range.header());
        }
        if let Some(cookies) = self.cookies().header(url) {
            request = request.header(COOKIE, cookies);
        }
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let response = request.send().await.map_err(|e| explain(&e))?;
        for cookie in response.headers().get_all(SET_COOKIE).iter().filter_map(|v| v.to_str().ok()) {
            self.cookies().set(url, cookie);
        }
        Ok(response)
    }

    fn cookies(&self) -> MutexGuard<'_, Cookies> {
        self.shared.cookies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads an address of a web server.
///
/// # Errors
/// If it is none.
pub(crate) fn parse(address: &str) -> Result<Url, RemoteError> {
    let url = Url::parse(address).map_err(|e| RemoteError::Other(format!("it is no valid URL: {e}")))?;
    place(&url).map(|_| url)
}

/// # Errors
/// If the answer is no success.
pub(super) fn check_status(response: &Response) -> Result<(), RemoteError> {
    match response.status() {
        status if status.is_success() => Ok(()),
        status => Err(RemoteError::Status(status.as_u16())),
    }
}

pub(super) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{IpAddr, Ipv4Addr, TcpListener};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A server on a loopback address that counts connections, and its port.
    fn server(answer: String) -> (u16, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let count = Arc::<AtomicUsize>::default();
        let seen = count.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                seen.fetch_add(1, Ordering::SeqCst);
                let mut request = Vec::new();
                let mut byte = [0];
                while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                    request.push(byte[0]);
                }
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        (port, count)
    }

    fn client(address: &str, policy: &AccessPolicy) -> WebClient {
        // Every name has a loopback address, as after DNS rebinding.
        let lookup: Lookup = Arc::new(|_| Box::pin(async { Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]) }));
        WebClient::with_lookup(address, policy, Arc::new(|| Ok(())), lookup).unwrap()
    }

    #[test]
    fn a_name_that_resolves_to_a_private_address_is_not_connected_to() {
        let (port, count) = server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into());
        let inside: Url = format!("http://rebound.example:{port}/x").parse().unwrap();
        let outer = client("http://films.example/a.m3u8", &AccessPolicy::default());
        let refused = outer.get(&inside, None).unwrap_err();
        assert!(matches!(&refused, RemoteError::Refused(words) if words.contains("rebound.example")), "{refused:?}");
        assert_eq!(count.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn redirects_are_checked_hop_by_hop() {
        let (inner, count) = server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into());
        for target in [
            format!("http://127.0.0.1:{inner}/"),
            format!("http://[::ffff:127.0.0.1]:{inner}/"),
            "file:///etc/passwd".into(),
        ] {
            let moved =
                format!("HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let (outer, _) = server(moved);
            let named = format!("http://127.0.0.1:{outer}/film.mp4");
            let client = client(&named, &AccessPolicy::default());
            let refused = client.get(client.named(), None).unwrap_err();
            assert!(matches!(refused, RemoteError::Refused(_)), "{target}: {refused:?}");
            if target.starts_with("http://127") {
                let allowed = AccessPolicy { allow_private: true, ..AccessPolicy::default() };
                let client = WebClient::new(&named, &allowed, Arc::new(|| Ok(()))).unwrap();
                assert_eq!(client.get(client.named(), None).unwrap().status(), 200);
                assert_eq!(count.swap(0, Ordering::SeqCst), 1);
            }
        }
        assert_eq!(count.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn endless_redirects_end() {
        let (port, count) =
            server("HTTP/1.1 301 Moved\r\nLocation: /again\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into());
        let client = client(&format!("http://127.0.0.1:{port}/"), &AccessPolicy::default());
        assert!(client.get(client.named(), None).unwrap_err().to_string().contains("more than"));
        assert_eq!(count.load(Ordering::SeqCst), MOST_REDIRECTS + 1);
    }
}
