//! A model that answers: an encoder reads a picture's features and a prompt behind them, and a decoder attends to what
//! it made of them.
//!
//! The decoder's graph is two in one, as `optimum` merges them: `use_cache_branch` says whether it runs with keys. Its
//! first run makes the encoder's keys, which every later run reads and none returns. All hypotheses of a picture have
//! the same ones, so they move only when a picture leaves its batch.
//!
//! Memory: the weights; what a run returns belongs to the caller.

use ort::value::{DynValue, Tensor, TensorElementType};

use super::config::TextConfig;
use super::files::{DECODER, ENCODER, HubFolder};
use super::graphs::{InputGraphs, NamedGraph, cache_names, check_layers, ints, last_logits};
use super::row_keeper::{RowKeeper, RowsForm};
use crate::error::Result;
use crate::model::graph::{LEAST_ROWS, floats, run_error, wrong_shape};
use crate::model::runtime::SessionOptions;
use crate::model::side_by_side::side_by_side;

/// Tensors of keys and values in a layer: the decoder's own and the encoder's.
const TENSORS: usize = 4;

/// The graphs of a folder.
pub(crate) struct EncoderDecoder {
    pub(super) inputs: InputGraphs,
    encoder: NamedGraph,
    decoder: NamedGraph,
    text: TextConfig,
    /// The token that the decoder reads first.
    start: i64,
    /// Names of the decoder's own keys and values, read and returned.
    own_names: Vec<(String, String)>,
    /// Names of the encoder's, read and returned.
    cross_names: Vec<(String, String)>,
    types: ElementTypes,
    own_keeper: RowKeeper,
    cross_keeper: RowKeeper,
    hidden_keeper: RowKeeper,
    /// Fewest rows of a run.
    least_rows: usize,
}

/// Types of what the graphs read.
#[derive(Clone, Copy)]
struct ElementTypes {
    /// Embeddings in the encoder.
    prompt: TensorElementType,
    /// Embeddings in the decoder.
    embeds: TensorElementType,
    /// The encoder's result in the decoder.
    hidden: TensorElementType,
    cache: TensorElementType,
}

/// What the decoder reads besides the next tokens, for some rows.
pub(crate) struct CrossKeys {
    /// The decoder's own keys and values.
    own: Vec<DynValue>,
    encoded: EncodedRows,
}

/// What the encoder made of a picture, for each row.
struct EncodedRows {
    /// Which of the batch's pictures each row describes.
    pictures: Vec<usize>,
    /// The encoder's result, one tensor: rows × tokens × width.
    hidden: Vec<DynValue>,
    /// Tokens that the encoder has read.
    tokens: usize,
    /// Its keys and values in each layer.
    cross: Vec<DynValue>,
    /// Whether the decoder has made them.
    has_keys: bool,
}

impl EncoderDecoder {
    /// Builds the sessions and checks what they read.
    ///
    /// # Errors
    /// [`Error::Model`](crate::error::Error::Model) if a graph reads something that descry does not know, or lacks an
    /// input; [`Error::Runtime`](crate::error::Error::Runtime) if ONNX Runtime or the device is missing.
    pub(crate) fn load(folder: &HubFolder, options: &SessionOptions) -> Result<EncoderDecoder> {
        let states = ["encoder_hidden_states", "encoder_attention_mask"];
        let known = [&["inputs_embeds", "use_cache_branch", "past_key_values."][..], &states].concat();
        let (inputs, (encoder, decoder)) = side_by_side(
            || InputGraphs::load(folder, options),
            || {
                let encoder = NamedGraph::load(folder, ENCODER, &["inputs_embeds", "attention_mask"], options);
                (encoder, NamedGraph::load(folder, DECODER, &known, options))
            },
        );
        let (inputs, encoder, decoder) = (inputs?, encoder?, decoder?);
        decoder.require(folder, "use_cache_branch")?;
        let (own_names, cache) = cache_names(folder, &decoder, ".decoder")?;
        let (cross_names, _) = cache_names(folder, &decoder, ".encoder")?;
        check_layers(folder, &decoder, TENSORS)?;
        let start = folder.config.decoder_start().ok_or_else(|| {
            folder.error("generation_config.json has no decoder_start_token_id", "Download the file again.")
        })?;
        let types = ElementTypes {
            prompt: encoder.require(folder, "inputs_embeds")?,
            embeds: decoder.require(folder, "inputs_embeds")?,
            hidden: decoder.require(folder, "encoder_hidden_states")?,
            cache,
        };
        let text = folder.config.model.text_config.clone();
        let least_rows = if folder.listing.precision.scales_by_batch() { 1 } else { LEAST_ROWS };
        let keeper = |element, rank, tensors| RowKeeper::new(RowsForm { element, rank, tensors }, options);
        Ok(EncoderDecoder {
            own_keeper: keeper(types.cache, 4, own_names.len())?,
            cross_keeper: keeper(types.cache, 4, cross_names.len())?,
            hidden_keeper: keeper(types.hidden, 3, 1)?,
            inputs,
            encoder,
            decoder,
            text,
            start,
            own_names,
            cross_names,
            types,
            least_rows,
        })
    }

    /// Most tokens that the encoder reads, and most that the decoder makes.
    pub(crate) fn context(&self) -> usize {
        self.text.max_position_embeddings
    }

    /// Tokens in the vocabulary.
    pub(crate) fn vocab(&self) -> usize {
        self.text.vocab_size
    }

    /// The token that the decoder reads first.
    pub(crate) fn start(&self) -> i64 {
        self.start
    }

    /// Tokens that the encoder reads of a picture and a prompt.
    pub(crate) fn encoded(&self, prompt: &[i64]) -> usize {
        self.inputs.image_tokens() + prompt.len()
    }

    /// Runs the encoder over the features of pictures, each with the prompt behind it. Returns pictures × tokens ×
    /// width values, and the tokens.
    pub(crate) fn encode(&mut self, prompt: &[i64], features: &[f32], pictures: usize) -> Result<(Vec<f32>, usize)> {
        let words = self.inputs.embed(prompt)?;
        let (tokens, width, each) = (self.encoded(prompt), self.inputs.width(), features.len() / pictures);
        let file = self.encoder.file.clone();
        let failed = run_error(&file);
        let mut hidden = Vec::with_capacity(pictures * tokens * width);
        // One picture at a time: its features are work enough for a run, and the attention of several needs much
        // memory.
        for features in features.chunks_exact(each) {
            let embeds = [features, &words].concat();
            let embeds = floats(self.types.prompt, &[1, tokens, width], embeds).map_err(&failed)?;
            let mut inputs = vec![("inputs_embeds".to_string(), embeds)];
            if self.encoder.reads("attention_mask").is_some() {
                inputs.push(("attention_mask".into(), ints(&[1, tokens], vec![1; tokens]).map_err(&failed)?));
            }
            let (shape, values) = self.encoder.run_one(inputs)?;
            if shape != [1, tokens, width] {
                return Err(wrong_shape(&file));
            }
            hidden.extend(values);
        }
        Ok((hidden, tokens))
    }

    /// Runs the decoder's first step behind what the encoder made of each picture. Returns the logits, pictures ×
    /// vocabulary, and the keys.
    pub(crate) fn begin(
        &mut self,
        mut hidden: Vec<f32>,
        tokens: usize,
        pictures: usize,
    ) -> Result<(Vec<f32>, CrossKeys)> {
        let file = self.decoder.file.clone();
        let failed = run_error(&file);
        let width = self.inputs.width();
        // One row is computed in another way than several.
        let rows = pictures.max(self.least_rows);
        hidden.extend_from_within(..(rows - pictures) * tokens * width);
        let hidden = floats(self.types.hidden, &[rows, tokens, width], hidden).map_err(&failed)?;
        let hidden = self.hidden_keeper.place(vec![hidden], rows)?;
        let owners = (0..pictures).chain(std::iter::repeat_n(0, rows - pictures)).collect();
        let empty = |names: &[(String, String)]| {
            let shape = [rows, self.text.key_value_heads(), 0, self.text.head_dim()];
            names.iter().map(|_| floats(self.types.cache, &shape, Vec::new()).map_err(&failed)).collect::<Result<_>>()
        };
        let own = empty(&self.own_names)?;
        let encoded =
            EncodedRows { pictures: owners, hidden, tokens, cross: empty(&self.cross_names)?, has_keys: false };
        let (mut logits, keys) = self.decode(&vec![self.start; rows], CrossKeys { own, encoded })?;
        logits.truncate(pictures * self.vocab());
        Ok((logits, keys))
    }

    /// Runs the decoder over the next token of each row. Returns the logits, rows × vocabulary, and the keys with it.
    pub(crate) fn decode(&mut self, tokens: &[i64], keys: CrossKeys) -> Result<(Vec<f32>, CrossKeys)> {
        let rows = tokens.len();
        let embeds = self.inputs.embed(tokens)?;
        let failed = run_error(&self.decoder.file);
        let CrossKeys { own, mut encoded } = keys;
        let embeds = floats(self.types.embeds, &[rows, 1, self.inputs.width()], embeds).map_err(&failed)?;
        let branch = Tensor::from_array(([1usize], vec![encoded.has_keys])).map_err(&failed)?;
        let mut inputs = vec![("inputs_embeds", embeds), ("use_cache_branch", branch.into_dyn())];
        if self.decoder.reads("encoder_attention_mask").is_some() {
            let mask = ints(&[rows, encoded.tokens], vec![1; rows * encoded.tokens]).map_err(&failed)?;
            inputs.push(("encoder_attention_mask", mask));
        }
        let cross = self.cross_names.iter().zip(&encoded.cross);
        let kept = self.own_names.iter().zip(&own).chain(cross).map(|((past, _), value)| (past.as_str(), value));
        let kept = kept.chain(encoded.hidden.iter().map(|hidden| ("encoder_hidden_states", hidden)));
        // The encoder's keys are made by the first run only.
        let made = if encoded.has_keys { &[][..] } else { &self.cross_names };
        let keep: Vec<&str> = self.own_names.iter().chain(made).map(|(_, present)| present.as_str()).collect();
        let decoder = (&mut self.decoder.session, self.decoder.file.as_str());
        let (logits, mut own) = self.own_keeper.run(decoder, &inputs, kept, &keep)?;
        if !encoded.has_keys {
            encoded.has_keys = true;
            encoded.cross = own.split_off(self.own_names.len());
        }
        let logits = last_logits(&self.decoder.file, self.text.vocab_size, &logits, rows)?;
        Ok((logits, CrossKeys { own, encoded }))
    }

    /// The keys of some rows, in this order; a row may come several times.
    pub(crate) fn select(&mut self, keys: CrossKeys, rows: &[usize]) -> Result<CrossKeys> {
        let CrossKeys { own, encoded } = keys;
        let own = self.own_keeper.select(own, rows)?;
        let pictures: Vec<usize> = rows.iter().map(|&row| encoded.pictures[row]).collect();
        if pictures == encoded.pictures {
            return Ok(CrossKeys { own, encoded });
        }
        let cross = self.cross_keeper.select(encoded.cross, rows)?;
        let hidden = self.hidden_keeper.select(encoded.hidden, rows)?;
        Ok(CrossKeys { own, encoded: EncodedRows { pictures, hidden, cross, ..encoded } })
    }
}
