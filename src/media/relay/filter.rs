//! What happens to RTSP messages on their way between FFmpeg and the server.
//!
//! FFmpeg believes that the server is at a local address. Requests are rewritten to the server's own, and get the
//! credentials that FFmpeg does not have. A redirect is not FFmpeg's to follow, and datagrams go to the server alone.
//!
//! Memory: the last [`PENDING`] requests.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::message::RtspMessage;
use crate::media::web::{WebCredentials, WebLogin};

/// Requests that wait for a response. FFmpeg waits for each but its keep-alives.
const PENDING: usize = 16;
const UNAUTHORIZED: u16 = 401;

/// A request that waits for its response.
struct Pending {
    request: RtspMessage,
    /// FFmpeg's number, and the one that the server got.
    own: Option<u32>,
    sent: u32,
    /// It was answered with a challenge before. A second one means that the password is wrong.
    again: bool,
}

/// What to do with a response.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    /// Pass it to FFmpeg.
    Pass(Vec<u8>),
    /// Send this request instead.
    Retry(Vec<u8>),
    /// The server names another address.
    Redirect(String),
}

/// The messages of one connection.
pub(super) struct RtspFilter {
    /// Scheme, host and port as FFmpeg knows them, and as the server does.
    local: String,
    remote: String,
    /// Where the server is.
    peer: IpAddr,
    auth: Option<WebLogin>,
    pending: VecDeque<Pending>,
    /// Number of the last request.
    number: u32,
}

impl RtspFilter {
    pub(super) fn new(local: String, remote: String, peer: IpAddr, login: Option<WebCredentials>) -> RtspFilter {
        RtspFilter { local, remote, peer, auth: login.map(WebLogin::new), pending: VecDeque::new(), number: 0 }
    }

    /// A message of FFmpeg, as the server gets it. `random` is new each time.
    pub(super) fn outgoing(&mut self, mut message: RtspMessage, random: u64) -> Vec<u8> {
        let Some((method, uri)) = message.request() else { return message.bytes() };
        if let Some(rest) = uri.strip_prefix(&self.local) {
            message.start = format!("{method} {}{rest} RTSP/1.0", self.remote);
        }
        if self.pending.len() == PENDING {
            self.pending.pop_front();
        }
        self.send(message.number(), message, false, random)
    }

    /// Numbers a request and signs it.
    fn send(&mut self, own: Option<u32>, mut request: RtspMessage, again: bool, random: u64) -> Vec<u8> {
        self.number += 1;
        request.set("CSeq", &self.number.to_string());
        if let (Some(auth), Some((method, uri))) = (&mut self.auth, request.request())
            && let Some(value) = auth.authorization(method, uri, random)
        {
            request.set("Authorization", &value);
        }
        let bytes = request.bytes();
        self.pending.push_back(Pending { request, own, sent: self.number, again });
        bytes
    }

    /// What a message of the server leads to. `may_reach` decides which addresses besides the server's may get datagrams.
    pub(super) fn incoming(
        &mut self,
        mut message: RtspMessage,
        random: u64,
        may_reach: impl Fn(IpAddr) -> bool,
    ) -> Reaction {
        let Some(status) = message.status() else { return Reaction::Pass(message.bytes()) };
        let number = message.number();
        // Without a number that is known it can only belong to the oldest.
        let at = self.pending.iter().position(|p| Some(p.sent) == number).unwrap_or(0);
        let pending = self.pending.remove(at);
        if (300..400).contains(&status)
            && let Some(location) = message.header("Location")
        {
            return Reaction::Redirect(location.to_string());
        }
        if let Some(Pending { request, own, sent, again }) = pending {
            if status == UNAUTHORIZED
                && !again
                && self.auth.as_mut().is_some_and(|auth| auth.challenge(message.all("WWW-Authenticate")))
            {
                return Reaction::Retry(self.send(own, request, true, random));
            }
            if let (Some(own), true) = (own, number == Some(sent)) {
                message.set("CSeq", &own.to_string());
            }
        }
        // FFmpeg has nothing to answer them with.
        message.remove("WWW-Authenticate");
        if let Some(transport) = message.header("Transport") {
            let transport = self.transport(transport, may_reach);
            message.set("Transport", &transport);
        }
        Reaction::Pass(message.bytes())
    }

    /// A transport whose datagrams come from the server, or from where FFmpeg may send its own.
    fn transport(&self, text: &str, may_reach: impl Fn(IpAddr) -> bool) -> String {
        let one = |transport: &str| {
            if transport.contains("interleaved") {
                return transport.to_string();
            }
            let mut source = self.peer;
            let mut words: Vec<String> = Vec::new();
            for word in transport.split(';') {
                match word.trim().split_once('=') {
                    Some((name, value)) if name.eq_ignore_ascii_case("source") => {
                        let named = value.trim_matches(['"', '[', ']']).parse().ok().filter(|ip| may_reach(*ip));
                        source = named.unwrap_or(source);
                    }
                    _ => words.push(word.to_string()),
                }
            }
            words.push(format!("source={source}"));
            words.join(";")
        };
        text.split(',').map(one).collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::{RtspItem, RtspReader};
    use super::*;

    fn message(text: &str) -> RtspMessage {
        let mut reader = RtspReader::default();
        reader.push(text.replace('\n', "\r\n").as_bytes());
        match reader.next() {
            Ok(Some(RtspItem::Message(message))) => message,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn filter(login: bool) -> RtspFilter {
        let login = login.then(|| WebCredentials { user: "u".into(), password: "p".into() });
        let peer = "192.0.2.7".parse().unwrap();
        RtspFilter::new("rtsp://127.0.0.1:9".into(), "rtsps://cam:322".into(), peer, login)
    }

    fn sent(bytes: &[u8]) -> RtspMessage {
        message(&String::from_utf8_lossy(bytes).replace('\r', ""))
    }

    fn passed(reaction: Reaction) -> RtspMessage {
        match reaction {
            Reaction::Pass(bytes) => sent(&bytes),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn requests_name_the_server_and_responses_keep_their_numbers() {
        let mut filter = filter(false);
        let first = sent(&filter.outgoing(message("OPTIONS rtsp://127.0.0.1:9/a?k=v RTSP/1.0\nCSeq: 1\n\n"), 0));
        assert_eq!((&*first.start, first.number()), ("OPTIONS rtsps://cam:322/a?k=v RTSP/1.0", Some(1)));
        let other = sent(&filter.outgoing(message("SETUP rtsps://cam/a/track1 RTSP/1.0\nCSeq: 7\n\n"), 0));
        assert_eq!((&*other.start, other.number()), ("SETUP rtsps://cam/a/track1 RTSP/1.0", Some(2)));
        for (number, own) in [(2, 7), (1, 1)] {
            let response = message(&format!("RTSP/1.0 200 OK\nCSeq: {number}\nPublic: X\n\n"));
            let response = passed(filter.incoming(response, 0, |_| false));
            assert_eq!((response.number(), response.header("public")), (Some(own), Some("X")));
        }
        assert!(filter.pending.is_empty());
        // What the server asks, and what FFmpeg answers, is left alone.
        let asked = passed(filter.incoming(message("OPTIONS * RTSP/1.0\nCSeq: 5\n\n"), 0, |_| false));
        assert_eq!(asked.number(), Some(5));
        assert_eq!(sent(&filter.outgoing(message("RTSP/1.0 200 OK\nCSeq: 5\n\n"), 0)).number(), Some(5));
        assert!(filter.pending.is_empty());
    }

    #[test]
    fn a_challenge_is_answered_once() {
        let challenge = |n: u32| {
            message(&format!(
                "RTSP/1.0 401 Unauthorized\nCSeq: {n}\nWWW-Authenticate: Digest realm=\"r\", nonce=\"n{n}\"\n\n"
            ))
        };
        let request = || message("DESCRIBE rtsp://127.0.0.1:9/a RTSP/1.0\nCSeq: 2\n\n");
        let mut with = filter(true);
        assert!(sent(&with.outgoing(request(), 0)).header("Authorization").is_none());
        let Reaction::Retry(again) = with.incoming(challenge(1), 0, |_| false) else { panic!("no second attempt") };
        let again = sent(&again);
        assert_eq!(again.number(), Some(2));
        assert!(again.header("Authorization").unwrap().contains("uri=\"rtsps://cam:322/a\""), "{again:?}");
        let refused = passed(with.incoming(challenge(2), 0, |_| false));
        assert_eq!(
            (refused.status(), refused.number(), refused.header("WWW-Authenticate")),
            (Some(401), Some(2), None)
        );
        // What follows is signed at once.
        assert!(sent(&with.outgoing(request(), 0)).header("Authorization").is_some());
        let mut without = filter(false);
        without.outgoing(request(), 0);
        assert_eq!(passed(without.incoming(challenge(1), 0, |_| false)).status(), Some(401));
    }

    #[test]
    fn redirects_are_not_passed_on() {
        let mut filter = filter(false);
        filter.outgoing(message("DESCRIBE rtsp://127.0.0.1:9/a RTSP/1.0\nCSeq: 2\n\n"), 0);
        let moved = message("RTSP/1.0 302 Found\nCSeq: 1\nLocation: rtsp://10.0.0.1/x\n\n");
        assert_eq!(filter.incoming(moved, 0, |_| true), Reaction::Redirect("rtsp://10.0.0.1/x".into()));
    }

    #[test]
    fn datagrams_go_where_they_may() {
        let mut filter = filter(false);
        let public: IpAddr = "198.51.100.1".parse().unwrap();
        for (source, wanted) in [
            ("", "192.0.2.7"),
            (";source=127.0.0.1", "192.0.2.7"),
            (";source=10.0.0.5;source=localhost", "192.0.2.7"),
            (";SOURCE=\"[::1]\"", "192.0.2.7"),
            (";source=198.51.100.1", "198.51.100.1"),
        ] {
            let text =
                format!("RTSP/1.0 200 OK\nCSeq: 1\nTransport: RTP/AVP/UDP;unicast{source};server_port=6970-6971\n\n");
            let response = passed(filter.incoming(message(&text), 0, |ip| ip == public));
            let expected = format!("RTP/AVP/UDP;unicast;server_port=6970-6971;source={wanted}");
            assert_eq!(response.header("Transport"), Some(&*expected));
        }
        let text = "RTSP/1.0 200 OK\nCSeq: 1\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\n\n";
        let response = passed(filter.incoming(message(text), 0, |_| false));
        assert_eq!(response.header("Transport"), Some("RTP/AVP/TCP;unicast;interleaved=0-1"));
    }

    #[test]
    fn requests_without_responses_do_not_pile_up() {
        let mut filter = filter(false);
        for n in 0..100 {
            filter.outgoing(message(&format!("OPTIONS * RTSP/1.0\nCSeq: {n}\n\n")), 0);
        }
        assert_eq!(filter.pending.len(), PENDING);
    }
}
