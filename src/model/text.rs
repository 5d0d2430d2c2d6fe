//! Words to embeddings, in the space of the image tower, so that pictures can be scored against texts.
//!
//! Owns the text tower's session and tokenizer. Texts are run in pieces of [`BATCH`]; results come in order.

use ort::session::Session;
use ort::value::{Tensor, TensorElementType};
use tokenizers::Tokenizer;

use crate::error::{Error, Result};
use crate::model::folder::{ModelFolder, TextSpec};
use crate::model::image::unit;
use crate::model::runtime::{LEAST_ROWS, Runtime, SessionOptions, expect, run_error};

/// Texts in one run.
const BATCH: usize = 32;

/// The text tower of a model folder.
pub struct TextEncoder {
    session: Session,
    tokenizer: Tokenizer,
    spec: TextSpec,
    width: usize,
}

impl TextEncoder {
    pub fn new(folder: &ModelFolder, options: &SessionOptions) -> Result<TextEncoder> {
        let Some(spec) = folder.manifest().text.clone() else {
            return Err(folder.error("it has no text tower", "use a model folder that was made with its text tower"));
        };
        let width = folder.manifest().image.embedding_dim;
        let session = Runtime::load()?.session(folder, &spec.graph, options)?;
        let ids = [None, Some(spec.context_length)];
        expect(folder, &spec.graph, "input", session.inputs(), "ids", TensorElementType::Int64, &ids)?;
        let embedding = [None, Some(width)];
        expect(folder, &spec.graph, "output", session.outputs(), "embedding", TensorElementType::Float32, &embedding)?;
        let tokenizer = load_tokenizer(folder, &spec.tokenizer)?;
        Ok(TextEncoder { session, tokenizer, spec, width })
    }

    /// One embedding of length 1 a text, in order. Longer texts are cut to the tower's context.
    pub fn embed(&mut self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let mut out = Vec::with_capacity(texts.len());
        for some in texts.chunks(BATCH) {
            self.run(some, &mut out)?;
        }
        Ok(out)
    }

    fn run(&mut self, texts: &[&str], out: &mut Vec<Vec<f32>>) -> Result<()> {
        let length = self.spec.context_length;
        let rows = texts.len().max(LEAST_ROWS);
        let mut ids = Vec::with_capacity(rows * length);
        for text in texts {
            let coded = self
                .tokenizer
                .encode(*text, true)
                .map_err(|e| Error::usage(format!("{text:?} cannot be cut into tokens: {e}"), "use other words"))?;
            // A cut text keeps its last token, the one that marks the end and that CLIP reads from.
            let all = coded.get_ids();
            let last = all.last().copied();
            let mut row: Vec<i64> = all.iter().take(length).map(|&id| i64::from(id)).collect();
            if all.len() > length
                && let (Some(end), Some(slot)) = (last, row.last_mut())
            {
                *slot = i64::from(end);
            }
            row.resize(length, self.spec.pad_token);
            ids.extend(row);
        }
        ids.resize(rows * length, self.spec.pad_token);
        let failed = run_error(&self.spec.graph);
        let input = Tensor::from_array(([rows, length], ids)).map_err(&failed)?;
        let outputs = self.session.run(ort::inputs!["ids" => input]).map_err(&failed)?;
        let (_, embedding) = outputs["embedding"].try_extract_tensor::<f32>().map_err(&failed)?;
        if embedding.len() != rows * self.width {
            return Err(Error::runtime(
                format!("{} gave a result of the wrong shape", self.spec.graph),
                "make the model folder again",
            ));
        }
        out.extend(embedding.chunks_exact(self.width).take(texts.len()).map(unit));
        Ok(())
    }
}

/// Reads a tokenizer that the manifest names.
pub(crate) fn load_tokenizer(folder: &ModelFolder, name: &str) -> Result<Tokenizer> {
    Tokenizer::from_file(folder.path(name)).map_err(|e| {
        folder.error(
            format!("{name} is no tokenizer that can be read: {e}"),
            "use a tokenizer.json of Hugging Face's tokenizers",
        )
    })
}
