//! What no text may show: keys, and the credentials of addresses.
//!
//! [`hide_known`] replaces them wherever they are, as they are meant, percent-encoded, or as JSON escapes them.
//!
//! Memory: each [`Shelf`] has a limit in bytes, and forgets what is oldest. A live playlist names a signed address every few
//! seconds, and a list may name a million of them.

use std::collections::{HashMap, VecDeque};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Replaces what is hidden.
pub(crate) const HIDDEN: &str = "***";
/// Shortest secret that is hidden in any text, in bytes. Shorter ones are hidden only in addresses: as plain text they would
/// be everywhere.
const LEAST: usize = 4;
/// Where a secret comes from, and so for how long it is remembered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SecretOrigin {
    /// A key or a token of the user.
    Key,
    /// An address that the user gave.
    Given,
    /// An address in a playlist or a redirect.
    LedTo,
}

/// Secrets of one origin.
struct Shelf {
    /// By their first bytes, the longest first, so that a secret inside another one does not leave the rest of it.
    by_start: HashMap<[u8; LEAST], Vec<Box<str>>>,
    /// The oldest first.
    order: VecDeque<Box<str>>,
    bytes: usize,
    limit: usize,
}

static SHELVES: LazyLock<Mutex<[Shelf; 3]>> =
    LazyLock::new(|| Mutex::new([Shelf::new(1 << 20), Shelf::new(4 << 20), Shelf::new(256 << 10)]));

fn shelves() -> MutexGuard<'static, [Shelf; 3]> {
    SHELVES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shelf {
    fn new(limit: usize) -> Shelf {
        Shelf { by_start: HashMap::new(), order: VecDeque::new(), bytes: 0, limit }
    }

    fn add(&mut self, secret: &str) {
        let Some(start) = secret.as_bytes().first_chunk() else { return };
        let known = self.by_start.entry(*start).or_default();
        if known.iter().any(|other| **other == *secret) {
            return;
        }
        let at = known.partition_point(|other| other.len() >= secret.len());
        known.insert(at, secret.into());
        self.order.push_back(secret.into());
        self.bytes += secret.len();
        // The newest is kept whatever its length.
        while self.bytes > self.limit && self.order.len() > 1 {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.order.pop_front() else { return };
        self.bytes -= oldest.len();
        if let Some(start) = oldest.as_bytes().first_chunk()
            && let Some(known) = self.by_start.get_mut(start)
        {
            known.retain(|other| *other != oldest);
            if known.is_empty() {
                self.by_start.remove(start);
            }
        }
    }

    /// How many bytes of a text are its beginning in which a secret is written; none if it begins with no secret.
    fn at_start_of(&self, text: &[u8]) -> Option<usize> {
        let longest = |percent, backslash| {
            let mut start = [0; LEAST];
            let mut written = Written { rest: text, percent, backslash };
            for byte in &mut start {
                *byte = written.next()?;
            }
            self.by_start.get(&start)?.iter().find_map(|secret| {
                let mut written = Written { rest: text, percent, backslash };
                secret.bytes().all(|byte| written.next() == Some(byte)).then(|| text.len() - written.rest.len())
            })
        };
        longest(true, true).max(longest(true, false)).max(longest(false, false))
    }
}

/// The bytes that are meant by a text.
struct Written<'a> {
    rest: &'a [u8],
    /// Whether `%41` means one character,
    percent: bool,
    /// and `\"`.
    backslash: bool,
}

impl Iterator for Written<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let (byte, length) = match self.rest {
            [b'%', high, low, ..] if self.percent && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digit = |byte: u8| (byte as char).to_digit(16).unwrap_or_default() as u8;
                (digit(*high) << 4 | digit(*low), 3)
            }
            [b'\\', byte @ (b'"' | b'\'' | b'\\' | b'/'), ..] if self.backslash => (*byte, 2),
            [byte, ..] => (*byte, 1),
            [] => return None,
        };
        self.rest = &self.rest[length..];
        Some(byte)
    }
}

/// Hides a secret in every text from now on: a key, or a token.
pub fn keep_secret(secret: &str) {
    keep([secret], SecretOrigin::Key);
}

/// Hides secrets, as they are meant, in every text from now on.
pub(crate) fn keep<T: AsRef<str>>(secrets: impl IntoIterator<Item = T>, origin: SecretOrigin) {
    let mut shelves = shelves();
    for secret in secrets {
        shelves[origin as usize].add(secret.as_ref());
    }
}

/// User name and password as HTTP sends them.
pub(crate) fn encode_login(login: &str) -> String {
    STANDARD.encode(login)
}

/// Removes the secrets that this process knows.
pub(crate) fn hide_known(text: &str) -> String {
    let shelves = shelves();
    hide_with(text, HIDDEN, |rest| shelves.iter().filter_map(|shelf| shelf.at_start_of(rest)).max())
}

/// Removes these secrets, and no others. What replaces them has no meaning in Markdown.
pub(crate) fn hide_these(text: &str, secrets: &[String]) -> String {
    let mut shelf = Shelf::new(usize::MAX);
    secrets.iter().for_each(|secret| shelf.add(secret));
    hide_with(text, "…", |rest| shelf.at_start_of(rest))
}

fn hide_with(text: &str, hidden: &str, at_start_of: impl Fn(&[u8]) -> Option<usize>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let secret = at_start_of(rest.as_bytes()).and_then(|length| rest.get(length..));
        out.push_str(if secret.is_some() { hidden } else { &rest[..first.len_utf8()] });
        rest = secret.unwrap_or(&rest[first.len_utf8()..]);
    }
    out
}

/// Forgets every secret, for the fuzz targets.
#[cfg(feature = "fuzzing")]
pub(crate) fn forget() {
    let mut shelves = shelves();
    for shelf in shelves.iter_mut() {
        *shelf = Shelf::new(shelf.limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_however_they_are_written() {
        let secrets = ["pa/ss w\"ord", "50%41 off", "back\\\\slashA", "schlüssel"].map(String::from);
        for text in [
            "pa/ss w\"ord",
            "pa%2Fss%20w%22ord",
            "pa/ss%20w%22ord",
            "pa%2fss w\\\"ord",
            "50%41 off",
            "50%2541%20off",
            "back\\\\slash%41",
            "schl%C3%BCssel",
            "schlüssel",
        ] {
            let hidden = hide_these(&format!("<{text}> ü"), &secrets);
            assert_eq!(hidden, "<…> ü", "{text}");
        }
        for other in ["pa/ss", "%", "100%", "\\", "50%4", ""] {
            assert_eq!(hide_these(other, &secrets), other);
        }
    }

    #[test]
    fn the_longest_secret_wins_and_short_ones_are_left() {
        let secrets = ["hidden", "hidden-also", "abc"].map(String::from);
        assert_eq!(hide_these("hidden-also hidden-a abc", &secrets), "… …-a abc");
    }

    #[test]
    fn the_oldest_secrets_are_forgotten() {
        let mut shelf = Shelf::new(2_000);
        for n in 0..10_000 {
            shelf.add(&format!("signature-{n:06}"));
            shelf.add("used all the time");
        }
        let indexed: usize = shelf.by_start.values().flatten().map(|secret| secret.len()).sum();
        assert!(shelf.bytes <= 2_000 && shelf.bytes == indexed, "{} {indexed}", shelf.bytes);
        assert_eq!(shelf.order.len(), shelf.by_start.values().map(Vec::len).sum::<usize>());
        assert_eq!(shelf.at_start_of(b"signature-000001"), None);
        assert_eq!(shelf.at_start_of(b"signature-009999"), Some(16));
        assert_eq!(shelf.at_start_of(b"used all the time."), Some(17));
        shelf.add(&"x".repeat(5_000));
        assert_eq!(shelf.order.len(), 1);
    }

    #[test]
    fn the_longest_match_counts_in_bytes_of_the_text() {
        let mut shelf = Shelf::new(100);
        shelf.add("a%20b");
        shelf.add("a bc");
        assert_eq!(shelf.at_start_of(b"a%20bc"), Some(6));
    }
}
