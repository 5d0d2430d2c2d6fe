//! Requests to the hub. Redirects are followed here, one by one: each has a limit to whom it may lead, and the token goes to the
//! endpoint alone.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::OnceLock;
use std::time::Duration;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body};
use url::Url;

use super::environment::HubEnvironment;
use super::fault::HubFault;
use super::listing::HubCommit;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::access::scope::{Scope, scope};
use crate::model::server::{pause, retry_after};

/// Most redirects of one request.
const MOST_REDIRECTS: usize = 5;
/// Largest listing in bytes: repositories with thousands of files have one of a megabyte.
const LARGEST_LISTING: u64 = 8 << 20;
/// How long a server may take to connect, to begin its answer, and to send the next bytes.
const SILENCE: Duration = Duration::from_secs(30);

/// Asks the hub.
pub(super) struct HubClient {
    environment: HubEnvironment,
    agent: Agent,
    /// Asks other servers, to which the hub leads.
    outside: OnceLock<Agent>,
}

/// What a server answers, after all redirects.
pub(super) struct HubAnswer {
    pub(super) status: u16,
    /// Where the bytes begin in the file, if the server says so.
    pub(super) start: Option<u64>,
    pub(super) body: Body,
}

/// Attempts at one request. Those that get somewhere do not count.
#[derive(Default)]
pub(super) struct Attempts {
    pub(super) failed: u32,
}

impl Attempts {
    /// Waits before the next attempt. A signal ends the process: nothing is lost.
    ///
    /// # Errors
    /// The fault, if there is to be none.
    pub(super) fn again(&mut self, fault: HubFault, interrupt: &Interrupt) -> Result<(), HubFault> {
        self.failed += 1;
        match pause(self.failed, fault.pause).filter(|_| fault.temporary) {
            Some(pause) => {
                // An interrupt that came before is noticed by the caller.
                let _ = interrupt.endure(|| std::thread::sleep(pause));
                Ok(())
            }
            None => Err(fault),
        }
    }
}

impl HubClient {
    pub(super) fn new(environment: &HubEnvironment) -> HubClient {
        let agent = Agent::with_parts(config(), DefaultConnector::default(), DefaultResolver::default());
        HubClient { environment: environment.clone(), agent, outside: OnceLock::new() }
    }

    /// The server's name in messages.
    pub(super) fn shown(&self) -> String {
        self.environment.shown()
    }

    /// The commit that a revision is, and its files.
    ///
    /// # Errors
    /// [`Error::Input`] if the hub refuses it, or cannot be asked after several attempts.
    pub(super) fn listing(&self, about: &str, at: (&str, &str), interrupt: &Interrupt) -> Result<HubCommit> {
        let (repository, revision) = at;
        let path = format!("api/models/{repository}/revision/{}?blobs=true", revision.replace('/', "%2F"));
        let mut attempts = Attempts::default();
        loop {
            if interrupt.is_set() {
                return Err(Error::Interrupted);
            }
            let listed = self.get(&path, repository, 0, interrupt).and_then(|answer| {
                let body = answer.body.into_with_config().limit(LARGEST_LISTING);
                interrupted(interrupt, || body.read_to_vec())?.map_err(HubFault::of_connection)
            });
            let fault = match listed.and_then(|body| HubCommit::parse(&body)) {
                Ok(listing) => return Ok(listing),
                Err(fault) => fault,
            };
            attempts
                .again(fault, interrupt)
                .map_err(|fault| fault.into_error(about, &self.shown(), attempts.failed))?;
        }
    }

    /// Asks for a file from this byte on.
    pub(super) fn file(
        &self,
        (repository, commit): (&str, &str),
        name: &str,
        from: u64,
        interrupt: &Interrupt,
    ) -> Result<HubAnswer, HubFault> {
        self.get(&format!("{repository}/resolve/{commit}/{name}"), repository, from, interrupt)
    }

    fn get(&self, path: &str, repository: &str, from: u64, interrupt: &Interrupt) -> Result<HubAnswer, HubFault> {
        let endpoint = &self.environment.endpoint;
        let base = endpoint.as_str().trim_end_matches('/');
        let mut url = Url::parse(&format!("{base}/{path}"))
            .map_err(|_| HubFault::permanent("has an address that cannot be used", "Check HF_ENDPOINT."))?;
        for _ in 0..=MOST_REDIRECTS {
            let is_own = url.origin() == endpoint.origin();
            let token = self.environment.token.as_ref().filter(|_| is_own);
            let answer = self.ask(&url, token, from, interrupt)?;
            let status = answer.status();
            let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
            match status.as_u16() {
                200 | 206 | 416 => {
                    let start = header("content-range").and_then(start_of);
                    return Ok(HubAnswer { status: status.as_u16(), start, body: answer.into_body() });
                }
                301 | 302 | 303 | 307 | 308 => {
                    let location = header("location").unwrap_or_default();
                    url = next_hop(&url, location)?;
                }
                code => {
                    let pause = retry_after(header("retry-after"));
                    let words = status.to_string();
                    if !is_own && matches!(code, 400..500) {
                        // An address that is valid for a while, and was for too short a one.
                        let host = url.host_str().unwrap_or_default();
                        let fault = HubFault::temporary(format!("leads to {host}, which answers {words}"));
                        return Err(HubFault { pause, ..fault });
                    }
                    let page = format!("{base}/{repository}");
                    return Err(HubFault::of_status((code, &words), pause, &page, token.is_some()));
                }
            }
        }
        Err(HubFault::permanent(
            format!("redirects more than {MOST_REDIRECTS} times"),
            "Check that HF_ENDPOINT is the address of a hub.",
        ))
    }

    fn ask(
        &self,
        url: &Url,
        token: Option<&String>,
        from: u64,
        interrupt: &Interrupt,
    ) -> Result<ureq::http::Response<Body>, HubFault> {
        let agent = if url.origin() == self.environment.endpoint.origin() { &self.agent } else { self.outside() };
        let mut request = agent.get(url.as_str()).header("Accept-Encoding", "identity");
        if let Some(token) = token {
            request = request.header("Authorization", &format!("Bearer {token}"));
        }
        if from > 0 {
            request = request.header("Range", &format!("bytes={from}-"));
        }
        interrupted(interrupt, || request.call())?.map_err(HubFault::of_connection)
    }

    /// For other servers. A hub with a public address leads to public addresses only; a mirror in a network of one's own may lead
    /// to others there.
    fn outside(&self) -> &Agent {
        self.outside.get_or_init(|| {
            let endpoint = &self.environment.endpoint;
            let host = endpoint.host_str().unwrap_or_default().trim_matches(['[', ']']);
            let own = (host, endpoint.port_or_known_default().unwrap_or(443)).to_socket_addrs();
            let is_private = own.is_ok_and(|mut own| own.any(|address| is_private(&address)));
            Agent::with_parts(config(), DefaultConnector::default(), OutsideResolver { any: is_private })
        })
    }
}

fn config() -> Config {
    Agent::config_builder()
        .timeout_connect(Some(SILENCE))
        .timeout_recv_response(Some(SILENCE))
        .timeout_per_read(Some(SILENCE))
        .timeout_per_write(Some(SILENCE))
        .max_redirects(0)
        .http_status_as_error(false)
        .user_agent(concat!("descry/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// How long a server that is only asked whether it is there may take.
#[cfg(feature = "cli")]
const LONGEST_REACH: Duration = Duration::from_secs(5);

/// Asks the hub whether it is there. Any answer will do, and the token is not sent.
///
/// # Errors
/// Why there is none.
#[cfg(feature = "cli")]
pub(crate) fn reach(environment: &HubEnvironment) -> Result<(), String> {
    let agent = Agent::config_builder()
        .timeout_global(Some(LONGEST_REACH))
        .max_redirects(0)
        .http_status_as_error(false)
        .user_agent(concat!("descry/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent();
    agent.head(environment.endpoint.as_str()).call().map(drop).map_err(|e| e.to_string())
}

/// Waits for the network. A signal meanwhile ends the process: what has come is on the disk.
pub(super) fn interrupted<T>(interrupt: &Interrupt, wait: impl FnOnce() -> T) -> Result<T, HubFault> {
    interrupt.endure(wait).map_err(|_| HubFault::temporary("was not asked: interrupted"))
}

/// Where a redirect leads.
fn next_hop(from: &Url, location: &str) -> Result<Url, HubFault> {
    let wrong = |cause: &str| HubFault::permanent(cause, "Check that HF_ENDPOINT is the address of a hub.");
    let next = from.join(location).ok().filter(|next| !location.is_empty() && next.has_host());
    let next = next.ok_or_else(|| wrong("redirects to something that is not an address"))?;
    match (from.scheme(), next.scheme()) {
        ("https", "https") | ("http", "http" | "https") if next.username().is_empty() => Ok(next),
        ("https", "http") => Err(wrong("redirects to an address without TLS")),
        _ => Err(wrong("redirects to an address that is none of a file on a web server")),
    }
}

/// The first byte that `Content-Range` names.
fn start_of(header: &str) -> Option<u64> {
    header.trim().strip_prefix("bytes")?.trim_start().split('-').next()?.parse().ok()
}

fn is_private(address: &SocketAddr) -> bool {
    !matches!(scope(address.ip()), Scope::Public)
}

/// Resolves names to public addresses only, or to any.
#[derive(Debug)]
struct OutsideResolver {
    any: bool,
}

impl Resolver for OutsideResolver {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = DefaultResolver::default().resolve(uri, config, timeout)?;
        let mut allowed = self.empty();
        for address in found.iter().filter(|address| self.any || !is_private(address)) {
            allowed.push(*address);
        }
        if allowed.is_empty() {
            return Err(ureq::Error::Io(std::io::ErrorKind::PermissionDenied.into()));
        }
        Ok(allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_on_the_web_and_keep_tls() {
        let hop = |from: &str, to: &str| next_hop(&Url::parse(from).unwrap(), to).map(|url| url.to_string());
        assert_eq!(hop("https://h/a/b", "/c?d=e").unwrap(), "https://h/c?d=e");
        assert_eq!(hop("https://h/a/b", "https://cdn/x").unwrap(), "https://cdn/x");
        assert_eq!(hop("http://h/a", "https://cdn/x").unwrap(), "https://cdn/x");
        for (to, cause) in [
            ("http://h/a", "without TLS"),
            ("file:///etc/passwd", "not an address"),
            ("ftp://h/a", "none of a file"),
            ("https://user:pass@h/a", "none of a file"),
            ("https://", "not an address"),
            ("", "not an address"),
        ] {
            assert!(hop("https://h/a", to).unwrap_err().cause.contains(cause), "{to}");
        }
    }

    #[test]
    fn a_public_hub_does_not_lead_into_private_networks() {
        for (address, private) in [("127.0.0.1:80", true), ("192.168.1.4:80", true), ("169.254.169.254:80", true)] {
            assert_eq!(is_private(&address.parse().unwrap()), private);
        }
        assert!(!is_private(&"93.184.216.34:443".parse().unwrap()));
        let agent = |any| Agent::with_parts(config(), DefaultConnector::default(), OutsideResolver { any });
        // Nobody listens there, which only an attempt to connect finds out.
        let refused = |any| match agent(any).get("http://127.0.0.1:9/").call() {
            Err(ureq::Error::Io(e)) => e.kind(),
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(false), std::io::ErrorKind::PermissionDenied);
        assert_eq!(refused(true), std::io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn ranges_are_read() {
        assert_eq!(start_of("bytes 100-199/200"), Some(100));
        assert_eq!(start_of("bytes */200"), None);
        assert_eq!(start_of("items 1-2/3"), None);
    }
}
