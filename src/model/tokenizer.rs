//! Tokenizers in Hugging Face's format: texts to tokens and back.
//!
//! The crate `tokenizers` panics on some files that are no tokenizer. Here that is an error like any other.

use serde::de::IgnoredAny;
use tokenizers::{Encoding, Tokenizer};

use crate::guard::{Panicked, guarded};

/// Reads the bytes of a `tokenizer.json`; the error is the cause.
pub(crate) fn parse_tokenizer(bytes: &[u8]) -> Result<Tokenizer, String> {
    // In wrong JSON, the parser of decoders panics.
    serde_json::from_slice::<IgnoredAny>(bytes).map_err(|e| e.to_string())?;
    settle(guarded(|| Tokenizer::from_bytes(bytes)))
}

/// The tokens of a text, with those that mark its beginning and its end if `special`.
pub(crate) fn encode(tokenizer: &Tokenizer, text: &str, special: bool) -> Result<Encoding, String> {
    settle(guarded(|| tokenizer.encode(text, special)))
}

/// The text of tokens, without special ones.
pub(crate) fn decode(tokenizer: &Tokenizer, ids: &[u32]) -> Result<String, String> {
    settle(guarded(|| tokenizer.decode(ids, true)))
}

fn settle<T>(done: Result<tokenizers::Result<T>, Panicked>) -> Result<T, String> {
    match done {
        Ok(result) => result.map_err(|e| e.to_string()),
        Err(Panicked) => Err("its parts contradict one another".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_an_error() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/clip/tokenizer.json");
        let text = std::fs::read_to_string(path).unwrap();
        assert!(parse_tokenizer(text.as_bytes()).is_ok());
        // Cut off, and with another character, both inside the decoder: there, the crate panics.
        let inside = text.find("\"decoder\"").unwrap() + 20;
        for damaged in [&text[..inside], &format!("{}?{}", &text[..inside], &text[inside..]), "", "{}"] {
            assert!(parse_tokenizer(damaged.as_bytes()).is_err());
        }
    }
}
