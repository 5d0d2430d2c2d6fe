//! RTSP as bytes: requests, responses and packets between them (RFC 2326, 10.12).
//!
//! [`RtspReader`] takes bytes as they come and returns whole messages, and packets in pieces of any length. It is tolerant,
//! as FFmpeg is: what is neither a message nor a packet is returned as it came.
//!
//! Memory: one message, at most [`LONGEST_HEAD`] and [`LONGEST_BODY`].

/// Longest head of a message in bytes. FFmpeg reads lines of 4 KiB.
const LONGEST_HEAD: usize = 64 << 10;
/// Longest body of a message in bytes: a description of the streams.
const LONGEST_BODY: usize = 1 << 20;
/// Longest first line of a message in bytes.
const LONGEST_LINE: usize = 16 << 10;

/// A request or a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RtspMessage {
    /// The first line.
    pub(super) start: String,
    /// The other lines, without their ends.
    pub(super) headers: Vec<String>,
    pub(super) body: Vec<u8>,
}

/// What comes over a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RtspItem {
    Message(RtspMessage),
    /// Part of a packet, or bytes that are neither.
    Bytes(Vec<u8>),
}

/// Why a connection is unusable.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// Takes bytes, returns messages and packets.
#[derive(Default)]
pub(super) struct RtspReader {
    buffer: Vec<u8>,
    /// Bytes of a packet that are still to come.
    packet: usize,
    /// Bytes at the start of the buffer that hold no end of a head.
    searched: usize,
}

impl RtspMessage {
    /// Splits a head, whose empty last line may be missing.
    fn parse(head: &[u8]) -> RtspMessage {
        let text = String::from_utf8_lossy(head);
        let mut lines = text.lines().map(str::to_string);
        let start = lines.next().unwrap_or_default();
        RtspMessage { start, headers: lines.filter(|line| !line.is_empty()).collect(), body: Vec::new() }
    }

    /// The status of a response.
    pub(super) fn status(&self) -> Option<u16> {
        let mut words = self.start.split_ascii_whitespace();
        words.next().filter(|version| version.starts_with("RTSP/"))?;
        words.next()?.parse().ok()
    }

    /// Method and address of a request.
    pub(super) fn request(&self) -> Option<(&str, &str)> {
        let mut words = self.start.split_ascii_whitespace();
        let (method, uri) = (words.next()?, words.next()?);
        (!method.starts_with("RTSP/")).then_some((method, uri))
    }

    /// Values of the headers of this name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter_map(move |line| {
            let (found, value) = line.split_once(':')?;
            found.trim_end().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Value of the first header of this name.
    pub(super) fn header<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// Replaces the headers of this name by one.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.headers.push(format!("{name}: {value}"));
    }

    /// Removes the headers of this name.
    pub(super) fn remove(&mut self, name: &str) {
        self.headers.retain(|line| !line.split_once(':').is_some_and(|(n, _)| n.trim_end().eq_ignore_ascii_case(name)));
    }

    /// The number that a response shares with its request.
    pub(super) fn number(&self) -> Option<u32> {
        self.header("CSeq")?.parse().ok()
    }

    /// As it is sent.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.start);
        for line in &self.headers {
            text.push_str(line);
            text.push_str("\r\n");
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// Whether bytes may begin a message: a request's method or a response's version.
fn may_be_message(line: &[u8]) -> bool {
    line.first().is_some_and(u8::is_ascii_uppercase)
        && line.iter().take_while(|b| **b != b' ').all(|b| b.is_ascii_uppercase() || b"/._0123456789".contains(b))
}

/// Where the first head in these bytes ends, after its empty line. Searches from `from` on.
fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let ends = (from..bytes.len()).filter(|at| bytes[*at] == b'\n');
    ends.filter_map(|at| match bytes.get(at + 1..) {
        Some([b'\n', ..]) => Some(at + 2),
        Some([b'\r', b'\n', ..]) => Some(at + 3),
        _ => None,
    })
    .next()
}

impl RtspReader {
    /// Takes what has arrived.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next item, or none until more bytes arrive.
    ///
    /// # Errors
    /// If a message is too long.
    pub(super) fn next(&mut self) -> Result<Option<RtspItem>, TooLong> {
        if self.packet > 0 {
            let length = self.packet.min(self.buffer.len());
            self.packet -= length;
            return Ok(self.take(length));
        }
        match self.buffer.first() {
            None => Ok(None),
            Some(b'$') => {
                // All packets that have begun, at once.
                while let Some(&[b'$', _, high, low]) = self.buffer.get(self.packet..self.packet + 4) {
                    self.packet += 4 + usize::from(u16::from_be_bytes([high, low]));
                }
                if self.packet == 0 { Ok(None) } else { self.next() }
            }
            Some(_) => self.message(),
        }
    }

    fn take(&mut self, length: usize) -> Option<RtspItem> {
        self.searched = 0;
        (length > 0).then(|| RtspItem::Bytes(self.buffer.drain(..length).collect()))
    }

    fn message(&mut self) -> Result<Option<RtspItem>, TooLong> {
        let line = self.buffer.iter().position(|b| *b == b'\n');
        if !may_be_message(&self.buffer[..line.unwrap_or(self.buffer.len())]) {
            // As FFmpeg does: up to the end of the line, or up to what may be a packet.
            let end = self.buffer.iter().position(|b| *b == b'$').unwrap_or(self.buffer.len());
            return Ok(self.take(line.map_or(end, |at| (at + 1).min(end))));
        }
        if line.is_none() && self.buffer.len() > LONGEST_LINE {
            return Err(TooLong);
        }
        let Some(end) = head_end(&self.buffer, self.searched) else {
            self.searched = self.buffer.len().saturating_sub(2);
            return if self.buffer.len() > LONGEST_HEAD { Err(TooLong) } else { Ok(None) };
        };
        let mut message = RtspMessage::parse(&self.buffer[..end]);
        let length = message.header("Content-Length").map_or(0, |text| text.parse().unwrap_or(0));
        if end > LONGEST_HEAD || length > LONGEST_BODY {
            return Err(TooLong);
        }
        if self.buffer.len() < end + length {
            return Ok(None);
        }
        message.body = self.buffer[end..end + length].to_vec();
        self.buffer.drain(..end + length);
        self.searched = 0;
        Ok(Some(RtspItem::Message(message)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pieces: &[&[u8]]) -> (Vec<RtspMessage>, Vec<u8>) {
        let (mut reader, mut messages, mut bytes) = (RtspReader::default(), Vec::new(), Vec::new());
        for piece in pieces {
            reader.push(piece);
            while let Some(item) = reader.next().unwrap() {
                match item {
                    RtspItem::Message(message) => messages.push(message),
                    RtspItem::Bytes(more) => bytes.extend(more),
                }
            }
        }
        (messages, bytes)
    }

    const ANSWER: &[u8] = b"RTSP/1.0 200 OK\r\nCSeq: 4\r\ncontent-length : 5\r\n\r\nv=0\r\n";

    #[test]
    fn messages_and_packets_are_told_apart() {
        let packet = b"$\x00\x00\x06\n\nRTSP";
        let bytes = [ANSWER, packet, b"OPTIONS rtsp://h/x RTSP/1.0\nCSeq: 9\n\n", packet].concat();
        let whole = read(&[&bytes]);
        assert_eq!(whole.1, [&packet[..], packet].concat());
        let [answer, request] = whole.0.as_slice() else { panic!("{:?}", whole.0) };
        assert_eq!((answer.status(), answer.number(), &*answer.body), (Some(200), Some(4), &b"v=0\r\n"[..]));
        assert_eq!((answer.request(), request.status()), (None, None));
        assert_eq!((request.request(), request.number()), (Some(("OPTIONS", "rtsp://h/x")), Some(9)));
        // However the bytes arrive.
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(&single), whole);
    }

    #[test]
    fn a_message_is_sent_as_it_came() {
        let (messages, _) = read(&[b"RTSP/1.0 200 OK\r\nCSeq: 4\r\nPublic: A, B\r\nContent-Length: 2\r\n\r\nok"]);
        let mut message = messages[0].clone();
        assert_eq!(message.bytes(), b"RTSP/1.0 200 OK\r\nCSeq: 4\r\nPublic: A, B\r\nContent-Length: 2\r\n\r\nok");
        message.set("cseq", "7");
        message.remove("PUBLIC");
        assert_eq!(message.bytes(), b"RTSP/1.0 200 OK\r\nContent-Length: 2\r\ncseq: 7\r\n\r\nok");
    }

    #[test]
    fn garbage_passes_and_what_follows_is_found() {
        let (messages, bytes) = read(&[b"\r\n\xffjunk\n", ANSWER, b"more $\x00\x00\x01x"]);
        assert_eq!((messages.len(), &*bytes), (1, &b"\r\n\xffjunk\nmore $\x00\x00\x01x"[..]));
    }

    #[test]
    fn endless_messages_are_refused() {
        for bytes in [
            [b"A".repeat(LONGEST_LINE), b"A".to_vec()].concat(),
            [b"RTSP/1.0 200 OK\r\n".to_vec(), b"x: y\r\n".repeat(LONGEST_HEAD / 6)].concat(),
            b"RTSP/1.0 200 OK\r\nContent-Length: 2000000\r\n\r\n".to_vec(),
        ] {
            let mut reader = RtspReader::default();
            reader.push(&bytes);
            assert_eq!(reader.next(), Err(TooLong));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_pass_without_a_panic(pieces in proptest::collection::vec(
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..40),
                Just(ANSWER.to_vec()),
                Just(b"$\x01\x00\x03abc".to_vec()),
                Just(b"RTSP/1.0 401\nContent-Length: -1\n\n".to_vec()),
            ], 0..8))
        {
            let (mut reader, mut again) = (RtspReader::default(), RtspReader::default());
            let (mut whole, mut single) = (Vec::new(), Vec::new());
            reader.push(&pieces.concat());
            while let Ok(Some(item)) = reader.next() {
                whole.push(item);
            }
            for byte in pieces.concat() {
                again.push(&[byte]);
                while let Ok(Some(item)) = again.next() {
                    single.push(item);
                }
            }
            let messages = |items: &[RtspItem]| items.iter().filter(|i| matches!(i, RtspItem::Message(_))).count();
            prop_assert!(messages(&whole) <= pieces.concat().len());
            prop_assert!(messages(&single) <= pieces.concat().len());
        }
    }
}
