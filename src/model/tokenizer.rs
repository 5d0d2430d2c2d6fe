//! Tokenizers in Hugging Face's format: texts to tokens and back.
//!
//! The crate `tokenizers` panics on some files that are no tokenizer. Here that is an error like any other.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use tokenizers::models::bpe::BPE;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::{
    DecoderWrapper, Encoding, Model, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    Tokenizer, TokenizerImpl,
};

use crate::guard::{Panicked, guarded};

/// Reads the bytes of a `tokenizer.json`; the error is the cause.
pub(crate) fn parse_tokenizer(bytes: &[u8]) -> Result<Tokenizer, String> {
    let model = model_type(bytes)?;
    settle(guarded(|| match model.as_deref() {
        Some("BPE") => of_model::<BPE>(bytes),
        Some("WordLevel") => of_model::<WordLevel>(bytes),
        Some("WordPiece") => of_model::<WordPiece>(bytes),
        _ => Tokenizer::from_bytes(bytes),
    }))
}

/// The type of a tokenizer's model, if the file states one.
///
/// # Errors
/// The file is not JSON: there, the parser of decoders panics.
fn model_type(bytes: &[u8]) -> Result<Option<Cow<'_, str>>, String> {
    #[derive(Deserialize)]
    struct File<'a> {
        #[serde(borrow)]
        model: Stated<'a>,
    }
    #[derive(Deserialize)]
    struct Stated<'a> {
        #[serde(borrow, rename = "type")]
        name: Cow<'a, str>,
    }
    match serde_json::from_slice::<File<'_>>(bytes) {
        Ok(file) => Ok(Some(file.model.name)),
        Err(_) => serde_json::from_slice::<IgnoredAny>(bytes).map(|_| None).map_err(|e| e.to_string()),
    }
}

/// Reads a tokenizer whose type of model is known. To find the type out, the crate would copy tens of thousands of words
/// into a tree, and from that into the model. What such a model does not read, the crate may read as another.
fn of_model<M: Model + DeserializeOwned + Into<ModelWrapper>>(bytes: &[u8]) -> tokenizers::Result<Tokenizer> {
    type Of<M> = TokenizerImpl<M, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;
    Of::<M>::from_bytes(bytes).map(Tokenizer::from).or_else(|_| Tokenizer::from_bytes(bytes))
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
    fn a_model_of_a_known_type_is_that_of_the_file() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        for name in ["models/builtin/tokenizer.json", "models/builtin/text_tokenizer.json"] {
            let bytes = std::fs::read(folder.join(name)).unwrap();
            assert!(model_type(&bytes).unwrap().is_some(), "{name}");
            let (ours, theirs) = (parse_tokenizer(&bytes).unwrap(), Tokenizer::from_bytes(&bytes).unwrap());
            assert_eq!(ours.to_string(false).unwrap(), theirs.to_string(false).unwrap(), "{name}");
            let ids = |t: &Tokenizer| encode(t, "A man's bicycle, unbelievably red.", true).unwrap().get_ids().to_vec();
            assert_eq!(ids(&ours), ids(&theirs), "{name}");
        }
    }

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
