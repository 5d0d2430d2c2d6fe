//! Segments of HLS that are encrypted as a whole: AES-128 in CBC mode, with the padding of PKCS #7 (RFC 8216, 5.2).
//!
//! Memory: one piece of [`PIECE`] bytes, encrypted and decrypted.

use ffmpeg_next::ffi;

use crate::media::byte_source::ByteSource;
use crate::media::remote::RemoteError;

/// Bytes of a block, a key and an initialization vector.
const BLOCK: usize = 16;
/// Bytes that are decrypted at once.
const PIECE: usize = 16 << 10;

/// Decrypts while reading. Only from the start to the end.
pub(super) struct EncryptedBytes {
    inner: Box<dyn ByteSource>,
    aes: Aes,
    iv: [u8; BLOCK],
    /// Read and not decrypted yet.
    sealed: Vec<u8>,
    /// Decrypted, and how much of it was read.
    open: Vec<u8>,
    read: usize,
    position: u64,
    ended: bool,
}

impl EncryptedBytes {
    /// None if there is no memory for it.
    pub(super) fn new(inner: Box<dyn ByteSource>, key: [u8; BLOCK], iv: [u8; BLOCK]) -> Option<EncryptedBytes> {
        let aes = Aes::new(key)?;
        let (sealed, open) = (Vec::new(), Vec::new());
        Some(EncryptedBytes { inner, aes, iv, sealed, open, read: 0, position: 0, ended: false })
    }

    /// Reads a piece and decrypts it. The last block waits for the end, because its padding is no content.
    fn refill(&mut self) -> Result<(), RemoteError> {
        let have = self.sealed.len();
        self.sealed.resize(PIECE, 0);
        let read = self.inner.read(&mut self.sealed[have..]);
        self.sealed.truncate(have + *read.as_ref().unwrap_or(&0));
        self.ended = read? == 0;
        let blocks = if self.ended { self.sealed.len() } else { self.sealed.len().saturating_sub(1) } / BLOCK;
        let sealed: Vec<u8> = self.sealed.drain(..blocks * BLOCK).collect();
        self.open = self.aes.decrypt(&sealed, &mut self.iv);
        self.read = 0;
        if self.ended {
            let padding = usize::from(self.open.last().copied().unwrap_or(0));
            if (1..=BLOCK).contains(&padding) {
                self.open.truncate(self.open.len().saturating_sub(padding));
            }
        }
        Ok(())
    }
}

impl ByteSource for EncryptedBytes {
    fn read(&mut self, out: &mut [u8]) -> Result<usize, RemoteError> {
        while self.read == self.open.len() {
            if self.ended || out.is_empty() {
                return Ok(0);
            }
            self.refill()?;
        }
        let n = out.len().min(self.open.len() - self.read);
        out[..n].copy_from_slice(&self.open[self.read..self.read + n]);
        self.read += n;
        self.position += n as u64;
        Ok(n)
    }

    fn seek(&mut self, _position: u64) {}

    fn position(&self) -> u64 {
        self.position
    }

    fn size(&self) -> Option<u64> {
        None
    }

    fn is_seekable(&self) -> bool {
        false
    }
}

/// FFmpeg's AES with a key.
struct Aes(*mut ffi::AVAES);

// SAFETY: plain memory that only its owner uses.
unsafe impl Send for Aes {}

impl Aes {
    fn new(key: [u8; BLOCK]) -> Option<Aes> {
        // SAFETY: the key has the 128 bits that are named; `drop` frees the allocation.
        unsafe {
            let aes = Aes(ffi::av_aes_alloc());
            (!aes.0.is_null() && ffi::av_aes_init(aes.0, key.as_ptr(), 128, 1) >= 0).then_some(aes)
        }
    }

    /// Decrypts whole blocks, and moves the initialization vector on.
    fn decrypt(&mut self, sealed: &[u8], iv: &mut [u8; BLOCK]) -> Vec<u8> {
        let mut open = vec![0; sealed.len()];
        let blocks = (sealed.len() / BLOCK) as i32;
        // SAFETY: both buffers hold that many blocks, and the vector one.
        unsafe { ffi::av_aes_crypt(self.0, open.as_mut_ptr(), sealed.as_ptr(), blocks, iv.as_mut_ptr(), 1) };
        open
    }
}

impl Drop for Aes {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`, and no longer used.
        unsafe { ffi::av_free(self.0.cast()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes in memory that come in pieces of three lengths.
    struct Pieces(Vec<u8>, usize);

    impl ByteSource for Pieces {
        fn read(&mut self, out: &mut [u8]) -> Result<usize, RemoteError> {
            let n = [1, 15, 40][self.1 % 3].min(out.len()).min(self.0.len() - self.1);
            out[..n].copy_from_slice(&self.0[self.1..self.1 + n]);
            self.1 += n;
            Ok(n)
        }

        fn seek(&mut self, _position: u64) {}

        fn position(&self) -> u64 {
            self.1 as u64
        }

        fn size(&self) -> Option<u64> {
            None
        }
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|n| u8::from_str_radix(&text[n..n + 2], 16).unwrap()).collect()
    }

    #[test]
    fn segments_are_decrypted_without_their_padding() {
        let key: [u8; BLOCK] = hex("2b7e151628aed2a6abf7158809cf4f3c").try_into().unwrap();
        let iv: [u8; BLOCK] = hex("000102030405060708090a0b0c0d0e0f").try_into().unwrap();
        // NIST SP 800-38A, F.2.1; then a block of padding alone, encrypted by OpenSSL.
        let sealed = hex(concat!(
            "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2",
            "73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7",
            "8cb82807230e1321d3fae00d18cc2012"
        ));
        let want = hex(concat!(
            "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51",
            "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
        ));
        let mut bytes = EncryptedBytes::new(Box::new(Pieces(sealed, 0)), key, iv).unwrap();
        let (mut got, mut out) = (Vec::new(), [0; 7]);
        loop {
            match bytes.read(&mut out).unwrap() {
                0 => break,
                n => got.extend_from_slice(&out[..n]),
            }
        }
        assert_eq!(got, want);
    }
}
