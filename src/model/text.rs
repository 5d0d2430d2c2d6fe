//! The text tower: texts to embeddings in the space of the image tower, so that pictures can be scored against texts.
//!
//! Owns the tower's session and tokenizer. Texts run in batches of [`BATCH`], and results come in order. Memory: the
//! weights and one batch.

use ort::session::Session;
use ort::value::{Tensor, TensorElementType};
use tokenizers::Tokenizer;

use crate::error::{Error, Result};
use crate::model::folder::ModelFolder;
use crate::model::graph::{GraphCheck, LEAST_ROWS, run_error, wrong_shape};
use crate::model::image::unit_vector;
use crate::model::manifest::TextSpec;
use crate::model::runtime::{Runtime, SessionOptions};

/// Most texts in one run, which bounds its memory. People give one text or a few.
const BATCH: usize = 32;

/// The text tower of a model folder.
pub struct TextEncoder {
    session: Session,
    tokenizer: Tokenizer,
    spec: TextSpec,
    /// Values in an embedding.
    width: usize,
}

impl TextEncoder {
    /// Builds the tower's session and reads its tokenizer.
    ///
    /// # Errors
    /// [`Error::Runtime`] if ONNX Runtime or the device is missing; [`Error::Model`] if the folder has no text tower,
    /// or if its graph or tokenizer does not match the manifest.
    pub fn new(folder: &ModelFolder, options: &SessionOptions) -> Result<TextEncoder> {
        let Some(spec) = folder.manifest().text.clone() else {
            return Err(folder.error("it has no text tower", "Use a model folder that was made with its text tower."));
        };
        let width = folder.manifest().image.embedding_dim;
        let session = Runtime::load()?.session(folder, &spec.graph, options)?;
        let check = GraphCheck::new(folder, &spec.graph, &session);
        check.input("ids", TensorElementType::Int64, &[None, Some(spec.context_length)])?;
        check.output("embedding", TensorElementType::Float32, &[None, Some(width)])?;
        let tokenizer = load_tokenizer(folder, &spec.tokenizer)?;
        Ok(TextEncoder { session, tokenizer, spec, width })
    }

    /// One embedding of length 1 for each text, in order. Texts that are longer than the tower's context are cut.
    ///
    /// # Errors
    /// [`Error::Usage`] if a text cannot be split into tokens; [`Error::Runtime`] if the model fails.
    pub fn embed(&mut self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let mut out = Vec::with_capacity(texts.len());
        for batch in texts.chunks(BATCH) {
            self.run(batch, &mut out)?;
        }
        Ok(out)
    }

    fn run(&mut self, texts: &[&str], out: &mut Vec<Vec<f32>>) -> Result<()> {
        let length = self.spec.context_length;
        let rows = texts.len().max(LEAST_ROWS);
        let mut ids = Vec::with_capacity(rows * length);
        for text in texts {
            ids.extend(self.tokens(text)?);
        }
        ids.resize(rows * length, self.spec.pad_token);
        let failed = run_error(&self.spec.graph);
        let input = Tensor::from_array(([rows, length], ids)).map_err(&failed)?;
        let outputs = self.session.run(ort::inputs!["ids" => input]).map_err(&failed)?;
        let (_, embedding) = outputs["embedding"].try_extract_tensor::<f32>().map_err(&failed)?;
        if embedding.len() != rows * self.width {
            return Err(wrong_shape(&self.spec.graph));
        }
        out.extend(embedding.chunks_exact(self.width).take(texts.len()).map(unit_vector));
        Ok(())
    }

    /// A text's tokens, padded or cut to the tower's context.
    fn tokens(&self, text: &str) -> Result<Vec<i64>> {
        let length = self.spec.context_length;
        let encoding = self
            .tokenizer
            .encode(text, true)
            .map_err(|e| Error::usage(format!("{text:?} cannot be split into tokens: {e}"), "Use other words."))?;
        let all = encoding.get_ids();
        let mut ids: Vec<i64> = all.iter().take(length).map(|&id| i64::from(id)).collect();
        // A text that is cut keeps its last token: it marks the end, and CLIP reads the embedding there.
        if all.len() > length
            && let (Some(&end), Some(last)) = (all.last(), ids.last_mut())
        {
            *last = i64::from(end);
        }
        ids.resize(length, self.spec.pad_token);
        Ok(ids)
    }
}

/// Reads a tokenizer that the manifest names.
pub(crate) fn load_tokenizer(folder: &ModelFolder, name: &str) -> Result<Tokenizer> {
    Tokenizer::from_file(folder.path(name)).map_err(|e| {
        folder.error(
            format!("{name} is not a tokenizer that can be read: {e}"),
            "Use a tokenizer.json of Hugging Face's tokenizers.",
        )
    })
}
