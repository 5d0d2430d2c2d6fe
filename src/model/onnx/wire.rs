//! The wire format of protocol buffers. A message is a list of fields whose meaning stays unknown here, so that one that is
//! written back keeps everything that nobody changed.

use std::borrow::Cow;

/// How a field's value is written: the low three bits of its tag.
const VARINT: u64 = 0;
const EIGHT_BYTES: u64 = 1;
const BYTES: u64 = 2;
const FOUR_BYTES: u64 = 5;

/// A field of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    /// Number and kind.
    tag: u64,
    /// The value as it is written, without the length of bytes.
    value: Cow<'a, [u8]>,
}

impl<'a> Field<'a> {
    /// An integer, a truth value or a name of an enumeration.
    pub(crate) fn int(number: u64, value: i64) -> Field<'static> {
        let mut bytes = Vec::new();
        // Negative numbers take ten bytes, as the format demands.
        write_varint(value as u64, &mut bytes);
        Field { tag: number << 3 | VARINT, value: bytes.into() }
    }

    /// A 32-bit float.
    pub(crate) fn float(number: u64, value: f32) -> Field<'static> {
        Field { tag: number << 3 | FOUR_BYTES, value: value.to_le_bytes().to_vec().into() }
    }

    /// A text, bytes or a message.
    pub(crate) fn bytes(number: u64, value: impl Into<Cow<'a, [u8]>>) -> Field<'a> {
        Field { tag: number << 3 | BYTES, value: value.into() }
    }

    pub(crate) fn number(&self) -> u64 {
        self.tag >> 3
    }

    /// The value of a text, of bytes or of a message.
    pub(crate) fn as_bytes(&self) -> Option<&[u8]> {
        (self.tag & 7 == BYTES).then_some(&*self.value)
    }

    /// The same of a field that was read, for as long as its message.
    pub(crate) fn borrowed_bytes(&self) -> Option<&'a [u8]> {
        match &self.value {
            Cow::Borrowed(bytes) if self.tag & 7 == BYTES => Some(bytes),
            _ => None,
        }
    }

    pub(crate) fn as_int(&self) -> Option<i64> {
        if self.tag & 7 != VARINT {
            return None;
        }
        Some(read_varint(&mut &*self.value)? as i64)
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_varint(self.tag, out);
        if self.tag & 7 == BYTES {
            write_varint(self.value.len() as u64, out);
        }
        out.extend_from_slice(&self.value);
    }
}

/// The head of a field of so many bytes, which follow it.
pub(crate) fn head_of_bytes(number: u64, length: u64) -> Vec<u8> {
    let mut head = Vec::new();
    write_varint(number << 3 | BYTES, &mut head);
    write_varint(length, &mut head);
    head
}

/// The fields of a message, in their order; `None` if it is not one.
pub(crate) fn read(mut bytes: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = read_varint(&mut bytes)?;
        let length = match tag & 7 {
            VARINT => bytes.iter().position(|b| b & 0x80 == 0)? + 1,
            EIGHT_BYTES => 8,
            BYTES => usize::try_from(read_varint(&mut bytes)?).ok()?,
            FOUR_BYTES => 4,
            _ => return None,
        };
        let (value, rest) = bytes.split_at_checked(length)?;
        fields.push(Field { tag, value: value.into() });
        bytes = rest;
    }
    Some(fields)
}

/// Integers that are written in one field; `None` if they are not.
pub(crate) fn read_packed(mut bytes: &[u8]) -> Option<Vec<i64>> {
    let mut values = Vec::new();
    while !bytes.is_empty() {
        values.push(read_varint(&mut bytes)? as i64);
    }
    Some(values)
}

/// Writes a message.
pub(crate) fn write<'a>(fields: impl IntoIterator<Item = &'a Field<'a>>) -> Vec<u8> {
    let mut out = Vec::new();
    fields.into_iter().for_each(|field| field.write(&mut out));
    out
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_have_the_bytes_of_the_specification() {
        // The examples of "Encoding" in the documentation of protocol buffers.
        assert_eq!(write(&[Field::int(1, 150)]), [0x08, 0x96, 0x01]);
        assert_eq!(write(&[Field::bytes(2, b"testing".as_slice())]), b"\x12\x07testing");
        assert_eq!(write(&[Field::int(1, -2)]), [8, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
        assert_eq!(read_packed(&[0x03, 0x8e, 0x02, 0x9e, 0xa7, 0x05]), Some(vec![3, 270, 86942]));
    }

    #[test]
    fn what_is_read_is_written_back() {
        let message = b"\x08\x96\x01\x12\x07testing\x1d\0\0\x80\x3f\x21\x01\x02\x03\x04\x05\x06\x07\x08";
        assert_eq!(write(&read(message).unwrap()), message);
    }

    #[test]
    fn broken_messages_are_refused() {
        for broken in [&b"\x12\x07test"[..], b"\x08", b"\x08\x96", b"\x0b", b"\x1d\0\0", b"\x12\xff\xff\xff\xff\x7f"] {
            assert!(read(broken).is_none(), "{broken:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(fields) = read(&bytes) {
                fields.iter().for_each(|f| {
                    let _ = (f.as_int(), f.as_bytes().map(read_packed));
                });
            }
        }
    }
}
