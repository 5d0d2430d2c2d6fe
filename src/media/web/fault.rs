//! What went wrong with a request, in words without credentials.

use std::error::Error as StdError;

use super::guard::ForbiddenHost;
use crate::address::hide;
use crate::media::access::tls::certificate_words;
use crate::media::remote::RemoteError;

/// Most characters of the client's own words in a message.
const LONGEST_WORDS: usize = 300;

/// Explains an error of the HTTP library by the first cause that is known, else by the last.
pub(super) fn explain(e: &reqwest::Error) -> RemoteError {
    let mut last: &(dyn StdError + 'static) = e;
    let mut next: Option<&(dyn StdError + 'static)> = Some(e);
    while let Some(cause) = next {
        last = cause;
        if let Some(forbidden) = cause.downcast_ref::<ForbiddenHost>() {
            return RemoteError::Refused(forbidden.to_string());
        }
        if let Some(rustls::Error::InvalidCertificate(why)) = cause.downcast_ref::<rustls::Error>() {
            return RemoteError::Untrusted(certificate_words(why));
        }
        // An I/O error hides what it was made from.
        next = match cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => cause.source(),
        };
    }
    // Before it is cut: half a secret would not be recognised.
    let mut words = hide(&last.to_string()).replace('\n', " ");
    if let Some((at, _)) = words.char_indices().nth(LONGEST_WORDS) {
        words.truncate(at);
    }
    RemoteError::Other(words)
}
