//! The bytes of one address.
//!
//! Reading goes on in one body for as long as it can. A short jump ahead reads on; any other jump asks for another part. A
//! connection that breaks is made again from where it stopped, if the server has parts.

use std::time::Duration;

use bytes::{Buf, Bytes};
use reqwest::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName};
use reqwest::{Response, StatusCode, Url};

use super::client::{WebClient, WebRange, check_status};
use super::fault::explain;
use crate::media::byte_source::ByteSource;
use crate::media::remote::{RemoteError, wait};

/// A jump ahead of at most this many bytes reads on: a new request costs as long as they do.
const SHORT_JUMP: u64 = 512 << 10;
/// Pauses before a broken connection is made again. Bytes that arrive begin the list anew.
const PAUSES: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(3)];

/// A body that is being received.
struct WebBody {
    response: Response,
    /// What was received and not read yet.
    chunk: Bytes,
    /// Position of the first byte of `chunk`.
    at: u64,
}

/// Reads an address.
pub(crate) struct WebSource {
    client: WebClient,
    /// Where the bytes are, after redirects.
    url: Url,
    /// The part of the address that is read. Positions count from its start.
    range: WebRange,
    /// Whether parts may be asked for.
    parts: bool,
    size: Option<u64>,
    seekable: bool,
    position: u64,
    body: Option<WebBody>,
    mime_type: String,
    /// Connections that broke since the last byte.
    broken: usize,
    /// How a body ended that cannot be continued.
    over: Option<Result<(), RemoteError>>,
}

impl WebSource {
    /// Opens an address, or a part of it. Without `parts` the request names no part, which some servers of playlists do not
    /// like.
    ///
    /// # Errors
    /// If there is no answer, or one that is no success.
    pub(crate) fn open(client: &WebClient, url: Url, range: WebRange, parts: bool) -> Result<WebSource, RemoteError> {
        let response = client.get(&url, parts.then_some(range))?;
        check_status(&response)?;
        let headers = response.headers();
        let from = begins_at(&response);
        if from != Some(if parts { range.start } else { 0 }) {
            return Err(RemoteError::Other("the server does not give the part that was asked for".into()));
        }
        let whole = whole_size(&response);
        let end = match (range.end, whole) {
            (Some(end), Some(whole)) => Some(end.min(whole)),
            (end, whole) => end.or(whole),
        };
        let accepts = text(headers, ACCEPT_RANGES).is_some_and(|v| v.eq_ignore_ascii_case("bytes"));
        let partial = response.status() == StatusCode::PARTIAL_CONTENT;
        let size = end.map(|end| end.saturating_sub(range.start));
        Ok(WebSource {
            client: client.clone(),
            url: address(url, &response),
            range,
            parts,
            size,
            seekable: parts && size.is_some() && (partial || accepts),
            position: 0,
            mime_type: text(headers, CONTENT_TYPE).unwrap_or_default().to_string(),
            body: Some(WebBody { response, chunk: Bytes::new(), at: 0 }),
            broken: 0,
            over: None,
        })
    }

    /// Where the bytes are, after redirects.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// What the server calls them.
    pub(crate) fn mime_type(&self) -> &str {
        &self.mime_type
    }

    /// The first bytes that were received, without reading them. Only before anything is read.
    ///
    /// # Errors
    /// If there are none yet, and none come.
    pub(crate) fn peek(&mut self) -> Result<&[u8], RemoteError> {
        if let Some(body) = &mut self.body
            && body.chunk.is_empty()
        {
            let next =
                wait(&self.client.stop().clone(), async { body.response.chunk().await.map_err(|e| explain(&e)) });
            body.chunk = next?.unwrap_or_default();
        }
        Ok(self.body.as_ref().map_or(&[], |body| &body.chunk))
    }

    /// Asks for what follows the position.
    fn connect(&self) -> Result<WebBody, RemoteError> {
        let start = self.range.start + self.position;
        let range = WebRange { start, end: self.range.end };
        let response = self.client.get(&self.url, self.parts.then_some(range))?;
        check_status(&response)?;
        match (begins_at(&response), whole_size(&response), self.size) {
            (Some(from), ..) if from != start => {
                Err(RemoteError::Other("the server cannot continue in the middle".into()))
            }
            (Some(_), Some(whole), Some(size)) if whole < self.range.start + size => Err(RemoteError::Changed),
            (Some(_), ..) => Ok(WebBody { response, chunk: Bytes::new(), at: self.position }),
            (None, ..) => Err(RemoteError::Other("the server answers with a part that it does not name".into())),
        }
    }

    /// Reads from the body, or nothing at its end.
    fn read_body(&mut self, out: &mut [u8]) -> Result<usize, RemoteError> {
        let reachable = |b: &WebBody| (b.at..=b.at + SHORT_JUMP.max(b.chunk.len() as u64)).contains(&self.position);
        let mut body = match self.body.take().filter(reachable) {
            Some(body) => body,
            None => self.connect()?,
        };
        let stop = self.client.stop().clone();
        loop {
            let skip = (self.position - body.at).min(body.chunk.len() as u64);
            body.chunk.advance(skip as usize);
            body.at += skip;
            if !body.chunk.is_empty() {
                break;
            }
            let next = wait(&stop, async { body.response.chunk().await.map_err(|e| explain(&e)) })?;
            let Some(chunk) = next else { return Ok(0) };
            self.broken = 0;
            body.chunk = chunk;
        }
        let left = self.size.map_or(u64::MAX, |size| size - self.position);
        let n = out.len().min(body.chunk.len()).min(usize::try_from(left).unwrap_or(usize::MAX));
        body.chunk.copy_to_slice(&mut out[..n]);
        body.at += n as u64;
        self.position += n as u64;
        self.body = Some(body);
        Ok(n)
    }

    /// Waits before the connection is made again; `fault` if that is of no use any more.
    fn pause(&mut self, fault: RemoteError) -> Result<(), RemoteError> {
        let pause =
            PAUSES.get(self.broken).copied().filter(|_| self.seekable && matches!(fault, RemoteError::Other(_)));
        let Some(pause) = pause else {
            self.over = (!self.seekable).then(|| Err(fault.clone()));
            return Err(fault);
        };
        self.broken += 1;
        wait(&self.client.stop().clone(), async {
            tokio::time::sleep(pause).await;
            Ok(())
        })
    }
}

impl ByteSource for WebSource {
    fn read(&mut self, out: &mut [u8]) -> Result<usize, RemoteError> {
        if let Some(over) = &self.over {
            return over.clone().map(|()| 0);
        }
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            if self.size.is_some_and(|size| self.position >= size) {
                // A body that is read to its end leaves the connection free for the next request.
                self.body = None;
                return Ok(0);
            }
            match self.read_body(out) {
                Ok(0) if self.size.is_some() => {
                    self.pause(RemoteError::Other("the connection ended before the last byte".into()))?;
                }
                Ok(n) => {
                    self.over = (n == 0).then_some(Ok(()));
                    return Ok(n);
                }
                Err(e) => self.pause(e)?,
            }
        }
    }

    fn seek(&mut self, position: u64) {
        self.position = position;
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn size(&self) -> Option<u64> {
        self.size
    }

    fn is_seekable(&self) -> bool {
        self.seekable
    }
}

/// Where an answer comes from. The HTTP library does not know the credentials of the address that was asked.
fn address(asked: Url, response: &Response) -> Url {
    let mut bare = asked.clone();
    let _ = bare.set_username("");
    let _ = bare.set_password(None);
    bare.set_fragment(None);
    if bare == *response.url() { asked } else { response.url().clone() }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// The first byte and the whole size by `Content-Range`.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let value = text(headers, CONTENT_RANGE)?.strip_prefix("bytes")?.trim();
    let (range, whole) = value.split_once('/')?;
    Some((range.split_once('-')?.0.trim().parse().ok()?, whole.trim().parse().ok()))
}

/// Position of the first byte of an answer; none if a part is given and not named.
fn begins_at(response: &Response) -> Option<u64> {
    match response.status() {
        StatusCode::PARTIAL_CONTENT => content_range(response.headers()).map(|(start, _)| start),
        _ => Some(0),
    }
}

/// Size of all that the address has, if the answer gives it.
fn whole_size(response: &Response) -> Option<u64> {
    match response.status() {
        StatusCode::PARTIAL_CONTENT => content_range(response.headers())?.1,
        _ => text(response.headers(), CONTENT_LENGTH)?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read() {
        let of = |value: &str| {
            let headers = HeaderMap::from_iter([(CONTENT_RANGE, value.parse().unwrap())]);
            content_range(&headers)
        };
        assert_eq!(of("bytes 5-9/20"), Some((5, Some(20))));
        assert_eq!(of("bytes 5-9/*"), Some((5, None)));
        assert_eq!(of("items 5-9/20"), None);
        assert_eq!(of("bytes x-9/20"), None);
    }
}
