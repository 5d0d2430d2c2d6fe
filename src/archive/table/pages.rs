//! The headers of a Parquet file's pages, read before any page is.
//!
//! A header states how many bytes and values its page has, and the Parquet reader believes it: it allocates what a header
//! of some bytes asks for. Here every header is compared with the bytes that are there. What descry never writes is refused
//! too: it would only be another way into a decoder.
//!
//! Memory: one header, of at most [`HEADER_LIMIT`] bytes.

use parquet::file::reader::ChunkReader;

/// Most bytes of a header. descry's have at most a hundred.
const HEADER_LIMIT: u64 = 1 << 10;
/// Most bytes of a page after decompression. descry's pages end with the row in which they reach 1 MiB.
const PAGE_LIMIT: u64 = 32 << 20;
/// Snappy's shortest code copies 64 bytes and has 3.
const SNAPPY_RATIO: u64 = 22;
/// Structures inside each other: a header has three.
const DEPTH_LIMIT: usize = 8;

/// Numbers that Parquet gives to what descry writes.
const DATA_PAGE: i64 = 0;
const DICTIONARY_PAGE: i64 = 2;
const PLAIN: i64 = 0;
const PLAIN_DICTIONARY: i64 = 2;
const RLE: i64 = 3;
const RLE_DICTIONARY: i64 = 8;

/// One column of a row group, as the footer describes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ColumnPages {
    /// Its first byte in the file.
    pub(super) start: u64,
    /// Its bytes in the file.
    pub(super) bytes: u64,
    /// Whether its pages are compressed with Snappy. Otherwise they are not compressed.
    pub(super) compressed: bool,
    /// Values in all of its pages.
    pub(super) values: u64,
    /// Bytes per value as they are written plainly; 0 where that varies, and for booleans.
    pub(super) width: u64,
    /// Whether values may be given by their number in a dictionary.
    pub(super) dictionary: bool,
    /// Most bytes of all pages after decompression.
    pub(super) most_bytes: u64,
}

/// What a header says.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct PageHeader {
    kind: i64,
    uncompressed: i64,
    compressed: i64,
    values: i64,
    encoding: i64,
    definition: i64,
    repetition: i64,
}

impl ColumnPages {
    /// Checks all headers; returns the size of the largest page in bytes.
    pub(super) fn check<R: ChunkReader>(&self, from: &R) -> Result<u64, String> {
        let (mut at, mut left, mut values, mut largest, mut all) = (self.start, self.bytes, 0u64, 0, 0u64);
        let mut dictionary = false;
        while left > 0 {
            let window = left.min(HEADER_LIMIT);
            let bytes = from.get_bytes(at, window as usize).map_err(|e| e.to_string())?;
            let (length, header) = PageHeader::read(&bytes).ok_or("a page has no header")?;
            let (compressed, uncompressed) = (size(header.compressed)?, size(header.uncompressed)?);
            let whole = length as u64 + compressed;
            if whole > left {
                return Err("a page is longer than its column".into());
            }
            if self.is_impossible(compressed, uncompressed) {
                return Err(format!("a page of {compressed} bytes cannot hold {uncompressed}"));
            }
            match header.kind {
                DICTIONARY_PAGE if self.dictionary && !dictionary && at == self.start => {
                    dictionary = true;
                    if !matches!(header.encoding, PLAIN | PLAIN_DICTIONARY) || size(header.values)? > uncompressed {
                        return Err("a dictionary is broken".into());
                    }
                }
                DATA_PAGE => {
                    values = values.checked_add(size(header.values)?).ok_or("too many values")?;
                    self.check_data(&header, dictionary, uncompressed)?;
                }
                _ => return Err("a page is of another kind than descry writes".into()),
            }
            largest = largest.max(uncompressed);
            all = all.saturating_add(uncompressed);
            if all > self.most_bytes {
                return Err(format!("a column has more than {} bytes", self.most_bytes));
            }
            (at, left) = (at + whole, left - whole);
        }
        match values == self.values {
            true => Ok(largest),
            false => Err(format!("a column has {values} values instead of {}", self.values)),
        }
    }

    fn is_impossible(&self, compressed: u64, uncompressed: u64) -> bool {
        let most = if self.compressed { compressed.saturating_mul(SNAPPY_RATIO) } else { compressed };
        let least = if self.compressed { 0 } else { compressed };
        uncompressed > most.min(PAGE_LIMIT) || uncompressed < least
    }

    fn check_data(&self, header: &PageHeader, dictionary: bool, uncompressed: u64) -> Result<(), String> {
        let plain = header.encoding == PLAIN;
        let known = plain || dictionary && matches!(header.encoding, PLAIN_DICTIONARY | RLE_DICTIONARY);
        if !known || header.definition != RLE || header.repetition != RLE {
            return Err("a page is encoded in another way than descry writes".into());
        }
        // Of values that may be absent, any number may be.
        if plain && size(header.values)?.saturating_mul(self.width) > uncompressed {
            return Err(format!("a page of {uncompressed} bytes cannot hold {} values", header.values));
        }
        Ok(())
    }
}

fn size(number: i64) -> Result<u64, String> {
    u64::try_from(number).map_err(|_| "a page has a negative size".into())
}

impl PageHeader {
    /// Reads a header from the start of some bytes; returns its length too. None where there is none.
    fn read(bytes: &[u8]) -> Option<(usize, PageHeader)> {
        let mut header = PageHeader { kind: -1, compressed: -1, uncompressed: -1, ..PageHeader::default() };
        let mut input = CompactInput { bytes, at: 0 };
        input.structure(0, &mut |path, value| match path {
            [1] => header.kind = value,
            [2] => header.uncompressed = value,
            [3] => header.compressed = value,
            // Of a data page and of a dictionary.
            [5 | 7, 1] => header.values = value,
            [5 | 7, 2] => header.encoding = value,
            [5, 3] => header.definition = value,
            [5, 4] => header.repetition = value,
            _ => {}
        })?;
        Some((input.at, header))
    }
}

/// Thrift's compact protocol, as far as it is needed to find integers and to skip everything else.
struct CompactInput<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Receives the integers of a structure, each with the numbers of the fields that lead to it.
type Visit<'a> = dyn FnMut(&[i16], i64) + 'a;

impl CompactInput<'_> {
    fn structure(&mut self, depth: usize, visit: &mut Visit<'_>) -> Option<()> {
        let mut field = 0i16;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(());
            }
            field = match head >> 4 {
                0 => i16::try_from(self.signed()?).ok()?,
                step => field.checked_add(i16::from(step))?,
            };
            // A truth in a structure has no byte of its own.
            if !matches!(head & 15, 1 | 2) {
                self.value(head & 15, depth, &mut |path: &[i16], value| {
                    let mut whole = [0; DEPTH_LIMIT + 1];
                    whole[0] = field;
                    whole[1..=path.len()].copy_from_slice(path);
                    visit(&whole[..=path.len()], value);
                })?;
            }
        }
    }

    fn value(&mut self, kind: u8, depth: usize, visit: &mut Visit<'_>) -> Option<()> {
        if depth >= DEPTH_LIMIT {
            return None;
        }
        match kind {
            1..=3 => self.skip(1),
            4..=6 => {
                let value = self.signed()?;
                visit(&[], value);
                Some(())
            }
            7 => self.skip(8),
            8 => {
                let length = self.unsigned()?;
                self.skip(usize::try_from(length).ok()?)
            }
            9 | 10 => {
                let head = self.byte()?;
                let count = if head >> 4 == 15 { self.unsigned()? } else { u64::from(head >> 4) };
                (0..count).try_for_each(|_| self.value(head & 15, depth + 1, &mut |_, _| {}))
            }
            12 => self.structure(depth + 1, visit),
            // A header has no maps.
            _ => None,
        }
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn skip(&mut self, n: usize) -> Option<()> {
        self.at = self.at.checked_add(n).filter(|at| *at <= self.bytes.len())?;
        Some(())
    }

    fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let value = self.unsigned()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A data page of 8 values in 32 bytes, as the Parquet writer writes it.
    const HEADER: &[u8] = &[0x15, 0, 0x15, 64, 0x15, 64, 0x2c, 0x15, 16, 0x15, 0, 0x15, 6, 0x15, 6, 0, 0];

    fn column(header: &[u8], values: u64) -> (Vec<u8>, ColumnPages) {
        let bytes = [header, &[7; 32]].concat();
        let pages = ColumnPages {
            start: 0,
            bytes: bytes.len() as u64,
            compressed: false,
            values,
            width: 4,
            dictionary: false,
            most_bytes: 40,
        };
        (bytes, pages)
    }

    fn check(header: &[u8], values: u64) -> Result<u64, String> {
        let (bytes, pages) = column(header, values);
        pages.check(&bytes::Bytes::from(bytes))
    }

    fn changed(at: usize, to: u8) -> Vec<u8> {
        let mut header = HEADER.to_vec();
        header[at] = to;
        header
    }

    #[test]
    fn a_header_is_compared_with_what_is_there() {
        assert_eq!(check(HEADER, 8), Ok(32));
        let cause = |header: &[u8]| check(header, 8).unwrap_err();
        assert!(check(HEADER, 9).unwrap_err().contains("8 values instead of 9"));
        assert!(cause(&changed(1, 6)).contains("another kind"));
        assert!(cause(&changed(3, 66)).contains("cannot hold 33"));
        assert!(cause(&changed(3, 63)).contains("negative"));
        assert!(cause(&changed(5, 66)).contains("longer than its column"));
        assert!(cause(&changed(8, 18)).contains("9 values"));
        assert!(cause(&changed(10, 16)).contains("another way"));
        assert!(cause(&changed(12, 0)).contains("another way"));
        assert!(cause(&[0x15, 0, 0x1c]).contains("no header"));
        let (bytes, pages) = column(HEADER, 8);
        let small = ColumnPages { most_bytes: 31, ..pages }.check(&bytes::Bytes::from(bytes));
        assert!(small.unwrap_err().contains("more than 31 bytes"));
        // 3 GB in 32 bytes.
        let huge = [&[0x15, 0, 0x15], &[0x80, 0xe0, 0xde, 0xe6, 0x16][..], &HEADER[4..]].concat();
        assert!(cause(&huge).contains("cannot hold"));
    }

    #[test]
    fn structures_inside_each_other_end() {
        assert_eq!(PageHeader::read(&[0x1c; 1 << 10]), None);
        assert_eq!(PageHeader::read(&[0x19; 1 << 10]), None);
        let list = [0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
        assert_eq!(PageHeader::read(&list), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = PageHeader::read(&bytes);
            let _ = check(&bytes, 8);
        }
    }
}
