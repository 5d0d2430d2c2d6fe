//! What an answer of the hub, or none, means.

use std::io::ErrorKind;
use std::time::Duration;

use crate::error::Error;
use crate::message::Message;

/// Why a request has no result.
#[derive(Debug)]
pub(super) struct HubFault {
    /// What the server does, without its name.
    pub(super) cause: String,
    pub(super) remedy: Message,
    /// Whether another attempt may succeed.
    pub(super) temporary: bool,
    /// The pause that the server asks for.
    pub(super) pause: Option<Duration>,
    pub(super) source: Option<Box<ureq::Error>>,
}

const AGAIN: &str = "Run descry again later: it goes on where it was.";

impl HubFault {
    pub(super) fn permanent(cause: impl Into<String>, remedy: impl Into<Message>) -> HubFault {
        HubFault { cause: cause.into(), remedy: remedy.into(), temporary: false, pause: None, source: None }
    }

    pub(super) fn temporary(cause: impl Into<String>) -> HubFault {
        HubFault { temporary: true, ..HubFault::permanent(cause, AGAIN) }
    }

    /// What a status means. `page`: where people read about the model. `has_token`: whether a token was sent.
    pub(super) fn of_status(
        (code, words): (u16, &str),
        pause: Option<Duration>,
        page: &str,
        has_token: bool,
    ) -> HubFault {
        let cause = format!("answers {words}");
        match code {
            401 | 403 if has_token => HubFault::permanent(
                cause,
                format!(
                    "Check the name. If the model is gated, accept its licence at {page} as the user of HF_TOKEN, and check \
                     that this token may read it."
                ),
            ),
            401 | 403 => HubFault::permanent(
                cause,
                format!(
                    "Check the name. If the model is gated or private, accept its licence at {page}, and set the environment \
                     variable HF_TOKEN to a token that may read it."
                ),
            ),
            404 => HubFault::permanent(cause, format!("Check the name and the revision: {page} shows what there is.")),
            408 | 429 | 500.. => HubFault { pause, ..HubFault::temporary(cause) },
            _ => HubFault::permanent(cause, "Check that HF_ENDPOINT is the address of a hub."),
        }
    }

    /// What an error of the connection means, without what it may reveal of addresses.
    pub(super) fn of_connection(e: ureq::Error) -> HubFault {
        let fault = match &e {
            ureq::Error::Timeout(_) => HubFault::temporary("does not answer in time"),
            ureq::Error::HostNotFound => HubFault::temporary("is unknown: its name has no address"),
            ureq::Error::ConnectionFailed => HubFault::temporary("cannot be reached"),
            ureq::Error::Io(io) => HubFault::of_io(io),
            ureq::Error::Rustls(_) | ureq::Error::Tls(_) => insecure(),
            ureq::Error::BodyExceedsLimit(_) => HubFault::permanent(
                "answers with more than a listing can have",
                "Check that HF_ENDPOINT is the address of a hub.",
            ),
            ureq::Error::InvalidProxyUrl => HubFault::permanent(
                "cannot be reached: the proxy's address is wrong",
                "Check HTTPS_PROXY and HTTP_PROXY.",
            ),
            ureq::Error::Protocol(_) => HubFault::temporary("does not answer as an HTTP server does"),
            _ => HubFault::temporary("cannot be asked"),
        };
        HubFault { source: Some(Box::new(e)), ..fault }
    }

    /// What an error in the middle of an answer means.
    pub(super) fn of_io(e: &std::io::Error) -> HubFault {
        match e.kind() {
            ErrorKind::ConnectionRefused => HubFault::temporary("cannot be reached: connection refused"),
            ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe => HubFault::broken_off(),
            ErrorKind::TimedOut | ErrorKind::WouldBlock => HubFault::temporary("does not answer in time"),
            ErrorKind::PermissionDenied => HubFault::permanent(
                "leads to a private network, which a public hub must not",
                "Check HF_ENDPOINT. If the hub is a mirror in your network, name it by its address there.",
            ),
            // An untrusted certificate is reported like this.
            ErrorKind::InvalidData => insecure(),
            _ => HubFault::temporary(format!("cannot be reached: {}", e.kind())),
        }
    }

    pub(super) fn broken_off() -> HubFault {
        HubFault::temporary("closes the connection before the file is complete")
    }

    /// The error, about a model or a file of it, after so many attempts. `server`: its name.
    pub(super) fn into_error(self, about: &str, server: &str, tries: u32) -> Error {
        let again = if tries > 1 { format!(", {tries} times in a row") } else { String::new() };
        let error = Error::input(about, format!("{server} {}{again}", self.cause), self.remedy);
        match self.source {
            Some(source) => error.with_source(*source),
            None => error,
        }
    }
}

fn insecure() -> HubFault {
    HubFault::permanent(
        "cannot prove who it is: no secure connection can be made",
        "Check the clock of this machine, HF_ENDPOINT, and whether something between reads the connection.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_temporary_or_permanent_and_name_the_fix() {
        let fault = |code: u16, token| HubFault::of_status((code, "CODE"), None, "https://h/o/n", token);
        for code in [408, 429, 500, 502, 503, 504] {
            assert!(fault(code, false).temporary, "{code}");
        }
        for code in [301, 400, 401, 403, 404, 410] {
            assert!(!fault(code, false).temporary, "{code}");
        }
        for (code, token, words) in [
            (401, false, "set the environment variable HF_TOKEN"),
            (403, true, "the user of HF_TOKEN"),
            (404, false, "https://h/o/n"),
        ] {
            let text = fault(code, token).into_error("x", "https://h", 1).to_string();
            assert!(text.contains(words) && text.contains("https://h answers CODE"), "{text}");
        }
        assert!(HubFault::broken_off().into_error("x", "h", 4).to_string().contains("4 times in a row"));
    }
}
