//! Whether two state machines are in the same state: a hash over everything that their next steps depend on.
//!
//! Stages that can begin in the middle of a film write their state into a [`Digest`]. Ordinals are written as distances
//! from the current frame and scene, because a machine that began later counts from another frame.

use std::io::{ErrorKind, Read, Result};

use sha2::{Digest as _, Sha256};

use crate::time::Time;

/// Bytes of a file that are hashed at a time: large enough that system calls cost little.
const HASH_BLOCK: usize = 64 << 10;

/// A hash in hex.
pub fn hex(hash: &[u8]) -> String {
    hash.iter().map(|b| format!("{b:02x}")).collect()
}

/// The SHA-256 of everything that a reader gives, in hex. Memory: one block of 64 KiB.
///
/// # Errors
/// Those of the reader.
pub(crate) fn sha256_of(mut reader: impl Read) -> Result<String> {
    let mut hash = Sha256::new();
    let mut block = vec![0; HASH_BLOCK];
    loop {
        match reader.read(&mut block) {
            Ok(0) => return Ok(hex(&hash.finalize())),
            Ok(n) => hash.update(&block[..n]),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Collects a state, value by value, always in the same order.
pub struct Digest {
    hash: Sha256,
    /// The frame that ordinals are counted from.
    frame: u64,
}

impl Digest {
    /// For a machine whose newest frame is this.
    pub fn at(frame: u64) -> Digest {
        Digest { hash: Sha256::new(), frame }
    }

    /// Bytes, with their number.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.hash.update(bytes);
    }

    /// A number.
    pub fn number(&mut self, number: u64) {
        self.hash.update(number.to_le_bytes());
    }

    /// A flag.
    pub fn flag(&mut self, flag: bool) {
        self.hash.update([u8::from(flag)]);
    }

    /// A time, exact to the microsecond.
    pub fn time(&mut self, time: Time) {
        self.hash.update(time.micros().to_le_bytes());
    }

    /// A float, exact to the bit.
    pub fn float(&mut self, value: f32) {
        self.hash.update(value.to_bits().to_le_bytes());
    }

    /// Several floats, each exact to the bit.
    pub fn floats(&mut self, values: &[f32]) {
        self.number(values.len() as u64);
        values.iter().for_each(|v| self.float(*v));
    }

    /// A frame's ordinal, as the distance from the newest one.
    pub fn frame(&mut self, index: u64) {
        self.number(self.frame.wrapping_sub(index));
    }

    /// Whether there is something, and then what.
    pub fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Digest, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    /// How many there are, and each.
    pub fn all<T>(&mut self, values: impl ExactSizeIterator<Item = T>, mut write: impl FnMut(&mut Digest, T)) {
        self.number(values.len() as u64);
        values.for_each(|v| write(self, v));
    }

    /// The first 16 bytes of the SHA-256.
    pub fn finish(self) -> [u8; 16] {
        let hash = self.hash.finalize();
        let mut out = [0; 16];
        out.copy_from_slice(&hash[..16]);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(frame: u64, write: impl FnOnce(&mut Digest)) -> [u8; 16] {
        let mut d = Digest::at(frame);
        write(&mut d);
        d.finish()
    }

    #[test]
    fn ordinals_count_as_distances_and_nothing_runs_together() {
        assert_eq!(of(10, |d| d.frame(7)), of(110, |d| d.frame(107)));
        assert_ne!(of(10, |d| d.frame(7)), of(10, |d| d.frame(6)));
        let two = |a: &'static [u8], b: &'static [u8]| {
            move |d: &mut Digest| {
                d.bytes(a);
                d.bytes(b);
            }
        };
        assert_ne!(of(0, two(b"ab", b"c")), of(0, two(b"a", b"bc")));
        assert_ne!(
            of(0, |d| d.option(None::<Time>, Digest::time)),
            of(0, |d| d.option(Some(Time::ZERO), Digest::time))
        );
        assert_ne!(of(0, |d| d.float(0.0)), of(0, |d| d.float(-0.0)));
    }
}
