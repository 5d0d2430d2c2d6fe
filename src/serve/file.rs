//! Files as answers: whole, or the part that a player asks for (RFC 9110, section 14).
//!
//! One range is answered; several are too much effort for what they gain, so the whole file is the answer, which the standard
//! permits. Memory: a chunk of 64 KiB for each file, and what the system buffers. No thread waits for a client.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::{Body, Bytes};
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, IF_RANGE, LAST_MODIFIED, RANGE,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http_range_header::{EndPosition, ParsedRanges, RangeUnsatisfiableError, StartPosition, parse_range_header};
use httpdate::fmt_http_date;
use tokio::task::spawn_blocking;

use super::peer::Peer;
use super::response::busy;
use super::streams::StreamPlace;

/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// A file, or what can be read like one.
pub struct ServedFile<R = File> {
    source: R,
    len: u64,
    content_type: HeaderValue,
    /// A strong entity tag.
    tag: Option<HeaderValue>,
    modified: Option<SystemTime>,
}

impl ServedFile<File> {
    /// An open file. Its length and time of change distinguish it from what it was before.
    ///
    /// # Errors
    /// When its metadata cannot be read, or it is no file.
    pub fn open(file: File, content_type: HeaderValue) -> io::Result<ServedFile<File>> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let modified = metadata.modified().ok();
        let since = modified.and_then(|m| m.duration_since(UNIX_EPOCH).ok());
        let tag = since.map(|since| format!("\"{:x}-{:x}\"", metadata.len(), since.as_nanos()));
        let tag = tag.and_then(|tag| HeaderValue::from_str(&tag).ok());
        Ok(ServedFile { source: file, len: metadata.len(), content_type, tag, modified })
    }
}

impl<R: Read + Seek + Send + 'static> ServedFile<R> {
    /// A source of `len` bytes that does not change. `tag`: an entity tag in quotation marks, if there is one.
    pub fn new(source: R, len: u64, content_type: HeaderValue, tag: Option<HeaderValue>) -> ServedFile<R> {
        ServedFile { source, len, content_type, tag, modified: None }
    }

    /// Whether a part is wanted only of another version.
    fn is_outdated(&self, headers: &HeaderMap) -> bool {
        let Some(condition) = headers.get(IF_RANGE) else { return false };
        // A date says little of a file that has changed a moment ago.
        let is_settled = |m: &SystemTime| m.elapsed().is_ok_and(|age| age >= Duration::from_secs(1));
        let date = self.modified.filter(is_settled).map(fmt_http_date);
        let same_date = date.is_some_and(|date| condition.as_bytes() == date.as_bytes());
        self.tag.as_ref() != Some(condition) && !same_date
    }
}

/// What of a file a request asks for.
#[derive(Debug, PartialEq)]
enum WantedPart {
    Whole,
    Part(Range<u64>),
    /// Nothing that the file has.
    Beyond,
}

/// Answers with a file: the whole, or the range that is asked for. The client may stall as long as the server allows.
pub fn serve_file<R: Read + Seek + Send + 'static>(
    peer: &Peer,
    method: &Method,
    headers: &HeaderMap,
    file: ServedFile<R>,
) -> Response {
    let part = match method {
        &Method::GET if !file.is_outdated(headers) => wanted(headers, file.len),
        _ => WantedPart::Whole,
    };
    let (status, range) = match part {
        WantedPart::Whole => (StatusCode::OK, 0..file.len),
        WantedPart::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        WantedPart::Beyond => {
            let range = [(CONTENT_RANGE, format!("bytes */{}", file.len)), (ACCEPT_RANGES, "bytes".into())];
            return (StatusCode::RANGE_NOT_SATISFIABLE, range).into_response();
        }
    };
    let len = range.end - range.start;
    let mut own = HeaderMap::new();
    let mut add = |name: HeaderName, value: Option<HeaderValue>| value.and_then(|value| own.insert(name, value));
    add(ACCEPT_RANGES, Some(HeaderValue::from_static("bytes")));
    add(CONTENT_TYPE, Some(file.content_type));
    add(CONTENT_LENGTH, Some(len.into()));
    add(ETAG, file.tag);
    add(LAST_MODIFIED, file.modified.and_then(|m| HeaderValue::from_str(&http_date(m)?).ok()));
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {}-{}/{}", range.start, range.end - 1, file.len);
        add(CONTENT_RANGE, HeaderValue::from_str(&range).ok());
    }
    if method == Method::HEAD || len == 0 {
        return (status, own).into_response();
    }
    let Some(place) = peer.begin_stream() else { return busy() };
    let reader = PartReader { source: file.source, at: range.start, left: len, _place: place };
    (status, own, Body::from_stream(chunks(reader))).into_response()
}

/// A time as a header has it; none where it cannot hold it.
fn http_date(time: SystemTime) -> Option<String> {
    // `httpdate` accepts the years from 1970 to 9999.
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    (since.as_secs() < 253_402_300_800).then(|| fmt_http_date(time))
}

/// The range that a request asks for, of `len` bytes. What is not one range of bytes is ignored.
fn wanted(headers: &HeaderMap, len: u64) -> WantedPart {
    let mut all = headers.get_all(RANGE).iter();
    let (Some(range), None) = (all.next().and_then(|r| r.to_str().ok()), all.next()) else { return WantedPart::Whole };
    let only = match parse_range_header(range) {
        Ok(ParsedRanges { ranges }) if ranges.len() == 1 => ranges[0],
        Err(RangeUnsatisfiableError::ZeroSuffix) => return WantedPart::Beyond,
        _ => return WantedPart::Whole,
    };
    let part = match (only.start, only.end) {
        // Nothing is the last of nothing.
        (StartPosition::FromLast(_), _) if len == 0 => return WantedPart::Whole,
        (StartPosition::FromLast(count), _) => len.saturating_sub(count)..len,
        (StartPosition::Index(start), EndPosition::Index(end)) if end < start => return WantedPart::Whole,
        (StartPosition::Index(start), EndPosition::Index(end)) => start..len.min(end.saturating_add(1)),
        (StartPosition::Index(start), EndPosition::LastByte) => start..len,
    };
    if part.start < len { WantedPart::Part(part) } else { WantedPart::Beyond }
}

struct PartReader<R> {
    source: R,
    at: u64,
    left: u64,
    _place: StreamPlace,
}

impl<R: Read + Seek> PartReader<R> {
    /// The next chunk, which is not empty.
    fn read(&mut self) -> io::Result<Bytes> {
        self.source.seek(SeekFrom::Start(self.at))?;
        let mut chunk = vec![0; CHUNK.min(usize::try_from(self.left).unwrap_or(CHUNK))];
        self.source.read_exact(&mut chunk)?;
        self.at += chunk.len() as u64;
        self.left -= chunk.len() as u64;
        Ok(chunk.into())
    }
}

/// Reads as the client takes, one chunk at a time. A file that has become shorter breaks the answer off.
fn chunks<R: Read + Seek + Send + 'static>(reader: PartReader<R>) -> impl stream::Stream<Item = io::Result<Bytes>> {
    stream::unfold(Some(reader), async |reader| {
        let mut reader = reader.filter(|reader| reader.left > 0)?;
        let read = spawn_blocking(move || (reader.read(), reader)).await;
        match read {
            Ok((Ok(chunk), reader)) => Some((Ok(chunk), Some(reader))),
            Ok((Err(e), _)) => Some((Err(e), None)),
            Err(e) => Some((Err(io::Error::other(e)), None)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(range: &str, len: u64) -> WantedPart {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, range.parse().unwrap());
        wanted(&headers, len)
    }

    #[test]
    fn ranges_are_those_of_the_standard() {
        use WantedPart::{Beyond, Part, Whole};
        for (range, want) in [
            ("bytes=0-0", Part(0..1)),
            ("bytes=2-5", Part(2..6)),
            ("bytes=2-", Part(2..10)),
            ("bytes=9-9", Part(9..10)),
            ("bytes=-3", Part(7..10)),
            // More than there is.
            ("bytes=2-18446744073709551615", Part(2..10)),
            ("bytes=-11", Part(0..10)),
            ("bytes=10-", Beyond),
            ("bytes=10-12", Beyond),
            ("bytes=-0", Beyond),
            // Not one range of bytes.
            ("bytes=5-2", Whole),
            ("bytes=0-1,4-5", Whole),
            ("bytes=", Whole),
            ("bytes=-", Whole),
            ("bytes=a-b", Whole),
            ("bytes=0x1-", Whole),
            ("bytes=99999999999999999999-", Whole),
            ("lines=0-1", Whole),
            ("", Whole),
        ] {
            assert_eq!(part(range, 10), want, "{range}");
        }
        assert_eq!(part("bytes=0-", 0), Beyond);
        assert_eq!(part("bytes=-5", 0), Whole);
        let mut twice = HeaderMap::new();
        twice.append(RANGE, "bytes=0-1".parse().unwrap());
        twice.append(RANGE, "bytes=0-1".parse().unwrap());
        assert_eq!(wanted(&twice, 10), Whole);
    }

    #[test]
    fn a_condition_compares_versions() {
        let file = |modified: SystemTime| ServedFile {
            source: io::empty(),
            len: 9,
            content_type: HeaderValue::from_static("video/mp4"),
            tag: Some(HeaderValue::from_static("\"a\"")),
            modified: Some(modified),
        };
        let old = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let is_outdated = |file: ServedFile<io::Empty>, condition: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(IF_RANGE, condition.parse().unwrap());
            file.is_outdated(&headers)
        };
        assert!(!is_outdated(file(old), "\"a\""));
        assert!(is_outdated(file(old), "\"b\""));
        // Weak tags never match.
        assert!(is_outdated(file(old), "W/\"a\""));
        assert!(!is_outdated(file(old), "Sun, 09 Sep 2001 01:46:40 GMT"));
        assert!(is_outdated(file(old), "Sun, 09 Sep 2001 01:46:41 GMT"));
        // It may have changed twice in this second.
        let now = SystemTime::now();
        assert!(is_outdated(file(now), &fmt_http_date(now)));
        assert_eq!(http_date(UNIX_EPOCH - Duration::from_secs(9)), None);
    }
}
