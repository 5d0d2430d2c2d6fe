//! The text tower: texts to embeddings in the space of the image tower, so that pictures can be scored against texts.
//!
//! Owns the tower's session and tokenizer. Texts run in batches of [`BATCH`] on one thread, and results come in order.
//! Memory: the weights and one batch.

use std::fmt::Display;

use ort::value::{Tensor, TensorElementType};
use tokenizers::Tokenizer;

use crate::error::{Error, Result};
use crate::model::folder::ModelFolder;
use crate::model::graph::{GraphCheck, LEAST_ROWS, float_type, floats_of, run_error, wrong_shape};
use crate::model::image::unit_vector;
use crate::model::in_place::{BackedSession, TextGraph};
use crate::model::manifest::TextSpec;
use crate::model::precision::Precision;
use crate::model::runtime::{Runtime, SessionOptions};
use crate::model::side_by_side::side_by_side;
use crate::model::tokenizer::{encode, parse_tokenizer};

/// Most texts in one run, which bounds its memory. People give one text or a few.
const BATCH: usize = 32;

/// Names of the graph's tokens and of its embedding, in a model folder and in the hub's layout.
const NAMES: (&str, &str) = ("ids", "embedding");
const HUB_NAMES: (&str, &str) = ("input_ids", "text_embeds");
/// The input, if there is one, that says which tokens are padding.
const MASK: &str = "attention_mask";

/// The text tower of a model folder.
pub struct TextEncoder {
    session: BackedSession,
    tokenizer: Tokenizer,
    spec: TextSpec,
    /// Values in an embedding.
    width: usize,
    /// Names of the tokens and of the embedding.
    names: (&'static str, &'static str),
    /// Whether the graph reads which tokens are padding.
    masked: bool,
    /// Most texts in a run, and fewest rows.
    batch: usize,
    least: usize,
}

impl TextEncoder {
    /// Builds the tower's session and reads its tokenizer.
    ///
    /// # Errors
    /// [`Error::Runtime`] if ONNX Runtime or the device is missing; [`Error::Model`] if the folder has no text tower,
    /// or if its graph or tokenizer does not match the manifest.
    pub fn new(folder: &ModelFolder, options: &SessionOptions) -> Result<TextEncoder> {
        let embedder = folder.embedder()?;
        let Some(spec) = embedder.text.clone() else {
            return Err(folder.error("it has no text tower", "Use a model folder that was made with its text tower."));
        };
        let width = embedder.dimension;
        let (tokenizer, (runtime, graph)) = side_by_side(
            || load_tokenizer(folder, &spec.tokenizer),
            || side_by_side(Runtime::load, || TextGraph::read(folder, &spec.graph, options)),
        );
        let runtime = runtime?;
        // Where a tower adds up what its tokens say, ONNX Runtime shares the sums among threads, and their order with them.
        let options = &SessionOptions { threads: 1, ..options.clone() };
        let backed = graph?.session(runtime, (folder, &spec.graph), options)?;
        let session = backed.session();
        let names = if folder.precision().is_some() { HUB_NAMES } else { NAMES };
        let check = GraphCheck::new(folder, &spec.graph, session);
        let (int, shape) = (TensorElementType::Int64, [None, Some(spec.context_length)]);
        check.input(names.0, int, &shape)?;
        check.no_input_but(&[names.0, MASK])?;
        check.output(names.1, float_type(session.outputs(), names.1), &[None, Some(width)])?;
        let masked = session.inputs().iter().any(|input| input.name() == MASK);
        if masked {
            check.input(MASK, int, &shape)?;
        }
        let tokenizer = tokenizer?;
        let alone = backed.takes_single_rows() || folder.precision().is_some_and(Precision::scales_by_batch);
        let (batch, least) = if alone { (1, 1) } else { (BATCH, LEAST_ROWS) };
        Ok(TextEncoder { session: backed, tokenizer, spec, width, names, masked, batch, least })
    }

    /// One embedding of length 1 for each text, in order. Texts that are longer than the tower's context are cut.
    ///
    /// # Errors
    /// [`Error::Usage`] if a text cannot be split into tokens; [`Error::Runtime`] if the model fails.
    pub fn embed(&mut self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let mut out = Vec::with_capacity(texts.len());
        for batch in texts.chunks(self.batch) {
            self.run(batch, &mut out)?;
        }
        Ok(out)
    }

    fn run(&mut self, texts: &[&str], out: &mut Vec<Vec<f32>>) -> Result<()> {
        let length = self.spec.context_length;
        let rows = texts.len().max(self.least);
        let (mut ids, mut mask) = (Vec::with_capacity(rows * length), Vec::new());
        for text in texts {
            let own = tokens(&self.tokenizer, &self.spec, text)?;
            if self.masked {
                mask.extend((0..length).map(|n| i64::from(n < own.len())));
            }
            ids.extend(own);
            ids.resize(ids.len().next_multiple_of(length), self.spec.pad_token);
        }
        // Rows that pad the batch repeat the last text: without any token, their attention would not be a number.
        for list in [&mut ids, &mut mask] {
            let last = list.len().saturating_sub(length)..list.len();
            while !list.is_empty() && list.len() < rows * length {
                list.extend_from_within(last.clone());
            }
        }
        let failed = run_error(&self.spec.graph);
        let input = Tensor::from_array(([rows, length], ids)).map_err(&failed)?;
        let mut inputs = ort::inputs![self.names.0 => input];
        if self.masked {
            let mask = Tensor::from_array(([rows, length], mask)).map_err(&failed)?;
            inputs.extend(ort::inputs![MASK => mask]);
        }
        let outputs = self.session.session_mut().run(inputs).map_err(&failed)?;
        let (_, embedding) = floats_of(&outputs[self.names.1]).map_err(&failed)?;
        if embedding.len() != rows * self.width {
            return Err(wrong_shape(&self.spec.graph));
        }
        out.extend(embedding.chunks_exact(self.width).take(texts.len()).map(unit_vector));
        Ok(())
    }
}

/// A text's tokens with those that mark its beginning and its end, cut to the tower's context; at least one.
fn tokens(tokenizer: &Tokenizer, spec: &TextSpec, text: &str) -> Result<Vec<i64>> {
    let length = spec.context_length;
    let encoding = encode(tokenizer, text, true)
        .map_err(|e| Error::usage(format!("{text:?} cannot be split into tokens: {e}"), "Use other words."))?;
    let all = encoding.get_ids();
    let mut ids: Vec<i64> = all.iter().take(length).map(|&id| i64::from(id)).collect();
    // A text that is cut keeps its last token: it marks the end, and CLIP reads the embedding there.
    if all.len() > length
        && let (Some(&end), Some(last)) = (all.last(), ids.last_mut())
    {
        *last = i64::from(end);
    }
    if ids.is_empty() {
        ids.push(spec.pad_token);
    }
    Ok(ids)
}

/// Reads a tokenizer that the manifest names.
pub(crate) fn load_tokenizer(folder: &ModelFolder, name: &str) -> Result<Tokenizer> {
    let wrong = |e: &dyn Display| {
        folder.error(
            format!("{name} is not a tokenizer that can be read: {e}"),
            "Use a tokenizer.json of Hugging Face's tokenizers.",
        )
    };
    read_tokenizer(&folder.listed().read(name)?).map_err(|e| wrong(&e))
}

/// Reads a tokenizer without the lengths in its file, which are those of the last texts that somebody tokenized; the
/// manifest says how long texts are.
fn read_tokenizer(bytes: &[u8]) -> Result<Tokenizer, String> {
    let mut tokenizer = parse_tokenizer(bytes)?;
    tokenizer.with_padding(None).with_truncation(None).map_err(|e| e.to_string())?;
    Ok(tokenizer)
}

/// The tokens of a text for a tower that reads `length` of them, for the fuzz targets.
#[cfg(feature = "fuzzing")]
pub(crate) fn tokens_of(file: &[u8], text: &str, length: usize) -> Result<Vec<i64>, String> {
    let tokenizer = read_tokenizer(file)?;
    let spec = TextSpec { graph: String::new(), tokenizer: String::new(), context_length: length, pad_token: 0 };
    tokens(&tokenizer, &spec, text).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokenizers::{PaddingParams, PaddingStrategy, TruncationParams};

    use super::*;

    /// A tokenizer in the form of BERT's, with the lengths that a published file may hold.
    fn word_piece() -> (tempfile::TempDir, Tokenizer) {
        let words = "[PAD] [UNK] [CLS] [SEP] a dog cat on the street run ##ning ##s cafe ,".split(' ');
        let vocab: serde_json::Map<_, _> = words.enumerate().map(|(id, word)| (word.to_string(), json!(id))).collect();
        let special = |id: usize, word: &str| {
            json!({ "id": id, "content": word, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true })
        };
        let marker = |word: &str| json!({ "SpecialToken": { "id": word, "type_id": 0 } });
        let text = |id: &str| json!({ "Sequence": { "id": id, "type_id": 0 } });
        let ids = |id: usize, word: &str| json!({ "id": word, "ids": [id], "tokens": [word] });
        let file = json!({
            "version": "1.0",
            "truncation": { "direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0 },
            "padding": { "strategy": { "Fixed": 16 }, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
                "pad_type_id": 0, "pad_token": "[PAD]" },
            "added_tokens": [special(0, "[PAD]"), special(1, "[UNK]"), special(2, "[CLS]"), special(3, "[SEP]")],
            "normalizer": { "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                "strip_accents": null, "lowercase": true },
            "pre_tokenizer": { "type": "BertPreTokenizer" },
            "post_processor": { "type": "TemplateProcessing", "single": [marker("[CLS]"), text("A"), marker("[SEP]")],
                "pair": [marker("[CLS]"), text("A"), marker("[SEP]"), text("B"), marker("[SEP]")],
                "special_tokens": { "[CLS]": ids(2, "[CLS]"), "[SEP]": ids(3, "[SEP]") } },
            "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
            "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100, "vocab": vocab },
        });
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("tokenizer.json"), file.to_string()).unwrap();
        let tokenizer = read_tokenizer(&std::fs::read(dir.path().join("tokenizer.json")).unwrap()).unwrap();
        (dir, tokenizer)
    }

    fn spec(context_length: usize) -> TextSpec {
        TextSpec { graph: String::new(), tokenizer: String::new(), context_length, pad_token: 0 }
    }

    #[test]
    fn word_pieces_are_lower_case_between_their_markers() {
        let (_dir, tokenizer) = word_piece();
        let ids = |text, length| tokens(&tokenizer, &spec(length), text).unwrap();
        assert_eq!(ids("A Dog runs, the CAFÉ", 12), [2, 4, 5, 10, 12, 14, 8, 13, 3]);
        assert_eq!(ids("zebras", 12), [2, 1, 3]);
        assert_eq!(ids("", 12), [2, 3]);
        // A text that is cut keeps the marker of its end.
        assert_eq!(ids("a dog running on the street", 5), [2, 4, 5, 10, 3]);
        assert_eq!(ids("a dog", 4), [2, 4, 5, 3]);
    }

    #[test]
    fn texts_are_cut_as_tokenizers_cuts_them() {
        let (_dir, tokenizer) = word_piece();
        for text in ["a dog", "A cat on the street, running", "the the the the the the the the the the the the", ""] {
            for length in 3..12 {
                let mut other = tokenizer.clone();
                let pad = PaddingParams { strategy: PaddingStrategy::Fixed(length), ..PaddingParams::default() };
                let cut = TruncationParams { max_length: length, ..TruncationParams::default() };
                other.with_padding(Some(pad)).with_truncation(Some(cut)).unwrap();
                let want: Vec<i64> =
                    other.encode(text, true).unwrap().get_ids().iter().map(|&id| i64::from(id)).collect();
                let mut ids = tokens(&tokenizer, &spec(length), text).unwrap();
                ids.resize(length, 0);
                assert_eq!(ids, want, "{text:?} in {length}");
            }
        }
    }
}
