//! How often a client may be wrong about the token.
//!
//! Wrong tokens are answered immediately, so that they hold no connection. Instead, an address that was wrong ten times in
//! a row has one further try every six seconds, and everything else that it sends with a token is refused unread. Behind a
//! proxy the limit is that of the client which the proxy names, and the proxy as a whole may be wrong ten times a second:
//! a client that invents names for itself is then still slow.
//!
//! Memory: [`REMEMBERED`] addresses. Where more are wrong at the same time, those that do not fit share one limit.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::client_address::ClientAddress;
use crate::lock::lock;

/// Addresses that are remembered.
const REMEMBERED: usize = 1_024;

/// What has a limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum GuessSource {
    /// One client.
    Client(ClientAddress),
    /// A proxy, with all of its clients.
    Proxy(ClientAddress),
    /// All that are not remembered.
    Others,
}

impl GuessSource {
    /// Those that a request counts for. `forwarded`: the client that a proxy names.
    pub(super) fn of(peer: ClientAddress, forwarded: Option<ClientAddress>) -> Vec<GuessSource> {
        match forwarded {
            Some(client) => vec![GuessSource::Client(client), GuessSource::Proxy(peer)],
            None => vec![GuessSource::Client(peer)],
        }
    }

    /// The time in which one wrong token is forgotten, and how many are allowed at once.
    fn limit(self) -> (Duration, u32) {
        match self {
            GuessSource::Client(_) => (Duration::from_secs(6), 10),
            GuessSource::Proxy(_) | GuessSource::Others => (Duration::from_millis(100), 100),
        }
    }
}

/// Counts wrong tokens.
#[derive(Default)]
pub(super) struct GuessLimiter {
    /// When everything that a source was wrong about is forgotten.
    forgiven: Mutex<HashMap<GuessSource, Instant>>,
}

impl GuessLimiter {
    /// How long these sources must wait before they may try again; `None` where they need not wait.
    pub(super) fn wait(&self, sources: &[GuessSource], now: Instant) -> Option<Duration> {
        let forgiven = lock(&self.forgiven);
        let wait = |source: &GuessSource| {
            let source = remembered(&forgiven, *source);
            let (each, most) = source.limit();
            let left = forgiven.get(&source)?.saturating_duration_since(now);
            left.checked_sub(each * (most - 1)).filter(|wait| !wait.is_zero())
        };
        sources.iter().filter_map(wait).max()
    }

    /// One of these sources sent a wrong token.
    pub(super) fn count(&self, sources: &[GuessSource], now: Instant) {
        let mut forgiven = lock(&self.forgiven);
        for source in sources {
            if forgiven.len() >= REMEMBERED && !forgiven.contains_key(source) {
                forgiven.retain(|_, until| *until > now);
            }
            let source = remembered(&forgiven, *source);
            let until = forgiven.entry(source).or_insert(now);
            *until = (*until).max(now) + source.limit().0;
        }
    }
}

/// The source whose count is kept.
fn remembered(forgiven: &HashMap<GuessSource, Instant>, source: GuessSource) -> GuessSource {
    let full = forgiven.len() >= REMEMBERED && !forgiven.contains_key(&source);
    if full { GuessSource::Others } else { source }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn address(n: u32) -> ClientAddress {
        IpAddr::from(Ipv4Addr::from_bits(n)).into()
    }

    fn client(n: u32) -> Vec<GuessSource> {
        GuessSource::of(address(n), None)
    }

    #[test]
    fn ten_mistakes_are_free_and_each_further_one_takes_six_seconds() {
        let (limiter, start) = (GuessLimiter::default(), Instant::now());
        for _ in 0..10 {
            assert_eq!(limiter.wait(&client(1), start), None);
            limiter.count(&client(1), start);
        }
        assert_eq!(limiter.wait(&client(1), start), Some(Duration::from_secs(6)));
        assert_eq!(limiter.wait(&client(2), start), None);
        // An hour of guessing, as fast as it is allowed.
        let tries = (0..3_600).filter(|second| {
            let now = start + Duration::from_secs(*second);
            let may = limiter.wait(&client(1), now).is_none();
            may.then(|| limiter.count(&client(1), now)).is_some()
        });
        assert!((590..=610).contains(&tries.count()));
        assert_eq!(limiter.wait(&client(1), start + Duration::from_secs(7_200)), None);
    }

    #[test]
    fn names_that_a_client_invents_behind_a_proxy_do_not_help_it() {
        let (limiter, start) = (GuessLimiter::default(), Instant::now());
        let mut name = 0;
        let tries = (0..60_000).filter(|millis| {
            name += 1;
            let (now, sources) =
                (start + Duration::from_millis(*millis), GuessSource::of(address(1), Some(address(9 + name))));
            let may = limiter.wait(&sources, now).is_none();
            may.then(|| limiter.count(&sources, now)).is_some()
        });
        // 10 a second and 100 at once.
        assert!((690..=701).contains(&tries.count()));
        // Others behind another proxy do not suffer.
        let elsewhere = GuessSource::of(address(2), Some(address(3)));
        assert_eq!(limiter.wait(&elsewhere, start + Duration::from_secs(60)), None);
    }

    #[test]
    fn a_crowd_takes_no_more_memory_and_is_still_limited() {
        let (limiter, now) = (GuessLimiter::default(), Instant::now());
        let mut tries = 0;
        for n in 0..200_000 {
            if limiter.wait(&client(n), now).is_none() {
                limiter.count(&client(n), now);
                tries += 1;
            }
        }
        assert!(lock(&limiter.forgiven).len() <= REMEMBERED + 1);
        assert!(tries <= REMEMBERED + 101, "{tries}");
        // Those that are remembered keep their own limit; later everyone has one again.
        assert_eq!(limiter.wait(&client(0), now), None);
        let later = now + Duration::from_secs(60);
        assert_eq!(limiter.wait(&client(199_999), later), None);
        limiter.count(&client(199_999), later);
        assert_eq!(lock(&limiter.forgiven).len(), 1);
    }
}
