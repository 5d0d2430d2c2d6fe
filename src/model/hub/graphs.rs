//! The graphs of a model that continues a prompt: pictures to features, tokens to vectors, vectors to logits. Every
//! model has the first two.
//!
//! Inputs are fed by the names that the graphs themselves have, because exporters differ in which ones they keep. Owns
//! the sessions. Memory: the weights; what a run returns belongs to the caller.

use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor, TensorElementType};

use super::config::TextConfig;
use super::files::{DECODER, EMBED, HubFolder, VISION};
use super::rewrite::{RewrittenGraph, rewrite_decoder};
use super::row_keeper::{RowKeeper, RowsForm};
use crate::error::{Error, Result};
use crate::model::graph::{LEAST_ROWS, floats, floats_of, run_error, wrong_shape};
use crate::model::runtime::{Preparation, Runtime, SessionOptions};
use crate::model::side_by_side::side_by_side;
use crate::model::verified::VerifiedGraph;

/// What to do about a graph that is not as expected.
const REMEDY: &str = "Export the model again in the layout of transformers.js, or download it.";

/// A graph, with the names and types of what it reads.
pub(super) struct NamedGraph {
    pub(super) session: Session,
    /// Its file, for messages.
    pub(super) file: String,
    inputs: Vec<(String, TensorElementType)>,
}

impl NamedGraph {
    pub(super) fn load(
        folder: &HubFolder,
        graph: &str,
        known: &[&str],
        options: &SessionOptions,
    ) -> Result<NamedGraph> {
        let file = folder.graph(graph);
        NamedGraph::load_verified(folder, (&folder.listed().graph(&file)?, None), known, options)
    }

    /// A graph and, if it was changed since it was read, what it has become.
    fn load_verified(
        folder: &HubFolder,
        (graph, rewritten): (&VerifiedGraph, Option<&RewrittenGraph>),
        known: &[&str],
        options: &SessionOptions,
    ) -> Result<NamedGraph> {
        let wrong = |cause| folder.error(cause, "Download the graph again.");
        // A scale for each picture takes a dozen operators for each product, and no fusion expects them.
        let is_scaled = rewritten.is_some_and(|graph| graph.scaled_by_picture);
        let preparation = if is_scaled { Preparation::Packed } else { Preparation::Full };
        let rewritten = rewritten.map(|graph| graph.bytes.as_slice());
        let session = Runtime::load()?.session_of_graph((graph, rewritten), preparation, options, wrong)?;
        NamedGraph::of(folder, graph.name.clone(), session, known)
    }

    fn of(folder: &HubFolder, file: String, session: Session, known: &[&str]) -> Result<NamedGraph> {
        let inputs: Vec<(String, TensorElementType)> = session
            .inputs()
            .iter()
            .map(|i| (i.name().to_string(), i.dtype().tensor_type().unwrap_or(TensorElementType::Undefined)))
            .collect();
        for (name, _) in &inputs {
            if !known.iter().any(|k| name == k || (k.ends_with('.') && name.starts_with(k))) {
                return Err(folder.error(format!("{file} reads {name:?}, which descry does not know"), REMEDY));
            }
        }
        Ok(NamedGraph { session, file, inputs })
    }

    /// The type of an input; `None` if the graph does not read it.
    pub(super) fn reads(&self, name: &str) -> Option<TensorElementType> {
        self.inputs.iter().find(|(n, _)| n == name).map(|(_, element)| *element)
    }

    /// The type of an input that the graph must read.
    pub(super) fn require(&self, folder: &HubFolder, name: &str) -> Result<TensorElementType> {
        let have = || self.inputs.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>().join(", ");
        self.reads(name)
            .ok_or_else(|| folder.error(format!("{} has no input {name:?}, only {}", self.file, have()), REMEDY))
    }

    /// The graph's only output as 32-bit floats: shape and values.
    pub(super) fn run_one(&mut self, inputs: Vec<(String, DynValue)>) -> Result<(Vec<usize>, Vec<f32>)> {
        let failed = run_error(&self.file);
        let inputs: Vec<(String, SessionInputValue)> = inputs.into_iter().map(|(n, v)| (n, v.into())).collect();
        let outputs = self.session.run(inputs).map_err(&failed)?;
        let value = outputs.values().next().ok_or_else(|| wrong_shape(&self.file))?;
        floats_of(&value).map_err(&failed)
    }
}

pub(super) fn ints(shape: &[usize], values: Vec<i64>) -> ort::Result<DynValue> {
    Ok(Tensor::from_array((shape, values))?.into_dyn())
}

/// The graphs that make a language model's input: pictures to features, tokens to vectors.
pub(crate) struct InputGraphs {
    vision: NamedGraph,
    embed: NamedGraph,
    /// Values in a vector.
    width: usize,
    /// Features of one picture.
    image_tokens: usize,
    /// Whether the image tower's integers have one scale for all pictures of a run.
    pub(super) scale_by_batch: bool,
}

/// The graphs of a folder.
pub(crate) struct Graphs {
    pub(super) inputs: InputGraphs,
    decoder: NamedGraph,
    text: TextConfig,
    /// Names of what a step reads of the keys and values, and of what it returns.
    cache_names: Vec<(String, String)>,
    /// Type of keys and values.
    cache_element: TensorElementType,
    keeper: RowKeeper,
    /// Type of embeddings in the decoder.
    embeds_element: TensorElementType,
    /// Whether the decoder's integers have one scale for a batch.
    pub(super) scale_by_batch: bool,
}

/// DecodedKeys and values of some rows: for each layer two tensors of rows × heads × tokens × head size.
pub(crate) struct DecodedKeys {
    values: Vec<DynValue>,
    /// Tokens that they cover.
    pub(crate) tokens: usize,
}

impl Graphs {
    /// Builds the sessions and checks what they read.
    ///
    /// # Errors
    /// [`Error::Model`] if a graph reads something that descry does not know, or lacks an input;
    /// [`Error::Runtime`] if ONNX Runtime or the device is missing.
    pub(crate) fn load(folder: &HubFolder, options: &SessionOptions) -> Result<Graphs> {
        let text = folder.config.model.text_config.clone();
        let known = ["inputs_embeds", "attention_mask", "position_ids", "past_key_values.", "num_logits_to_keep"];
        let (inputs, decoder) = side_by_side(
            || InputGraphs::load(folder, options),
            || -> Result<(NamedGraph, Option<VerifiedGraph>)> {
                let read = folder.listed().graph(&folder.graph(DECODER))?;
                let rewritten = rewrite_decoder(read.bytes(), read.file());
                let decoder = NamedGraph::load_verified(folder, (&read, rewritten.as_ref()), &known, options)?;
                let by_picture = rewritten.is_some_and(|graph| graph.scaled_by_picture);
                Ok((decoder, by_picture.then_some(read)))
            },
        );
        let (inputs, (decoder, scaled_by_picture)) = (inputs?, decoder?);
        let embeds_element = decoder.require(folder, "inputs_embeds")?;
        let (cache_names, cache_element) = cache_names(folder, &decoder, "")?;
        check_layers(folder, &decoder, 2)?;
        let scale_by_batch = folder.listing.precision.scales_by_batch() && scaled_by_picture.is_none();
        let form = RowsForm { element: cache_element, rank: 4, tensors: cache_names.len() };
        let keeper = RowKeeper::new(form, options)?;
        let mut graphs =
            Graphs { inputs, decoder, text, cache_names, cache_element, keeper, embeds_element, scale_by_batch };
        if let Some(read) = scaled_by_picture
            && !graphs.keeps_pictures_apart()
        {
            graphs.decoder = NamedGraph::load_verified(folder, (&read, None), &known, options)?;
            graphs.scale_by_batch = true;
        }
        Ok(graphs)
    }

    /// Whether pictures are the first dimension everywhere in the decoder, so that each can have a scale of its own. If its
    /// products flatten pictures and vectors into one, a step fails.
    fn keeps_pictures_apart(&mut self) -> bool {
        let embeds = vec![0.0; LEAST_ROWS * self.inputs.width()];
        self.no_keys(LEAST_ROWS).is_ok_and(|keys| self.decode(embeds, LEAST_ROWS, 1, keys).is_ok())
    }

    /// Most tokens of a prompt and what follows.
    pub(crate) fn context(&self) -> usize {
        self.text.max_position_embeddings
    }

    /// Tokens in the vocabulary.
    pub(crate) fn vocab(&self) -> usize {
        self.text.vocab_size
    }
}

impl InputGraphs {
    /// Builds the sessions and checks what they read; see [`Graphs::load`].
    pub(super) fn load(folder: &HubFolder, options: &SessionOptions) -> Result<InputGraphs> {
        let vision = NamedGraph::load(folder, VISION, &["pixel_values", "pixel_attention_mask"], options)?;
        let embed = NamedGraph::load(folder, EMBED, &["input_ids"], options)?;
        vision.require(folder, "pixel_values")?;
        embed.require(folder, "input_ids")?;
        let width = folder.config.model.text_config.hidden_size;
        let scale_by_batch = folder.listing.precision.scales_by_batch();
        Ok(InputGraphs { vision, embed, width, image_tokens: folder.config.image_tokens(), scale_by_batch })
    }

    /// Values in a vector of the language model.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Features of one picture.
    pub(crate) fn image_tokens(&self) -> usize {
        self.image_tokens
    }

    /// Features of pictures: for each, image tokens × width. `pixels` holds pictures of three planes of side × side.
    pub(crate) fn features(&mut self, pixels: Vec<f32>, side: usize) -> Result<Vec<f32>> {
        let count = pixels.len() / (3 * side * side);
        let file = self.vision.file.clone();
        let failed = run_error(&file);
        let element = self.vision.reads("pixel_values").unwrap_or(TensorElementType::Float32);
        let nested = self.vision.session.inputs().iter().find(|i| i.name() == "pixel_values");
        // Graphs for several pictures a prompt have a dimension for them, which nothing in the image tower depends on.
        let nested = nested.and_then(|i| i.dtype().tensor_shape()).is_some_and(|s| s.len() == 5);
        let shape = if nested { vec![count, 1, 3, side, side] } else { vec![count, 3, side, side] };
        let mut inputs = vec![("pixel_values".to_string(), floats(element, &shape, pixels).map_err(&failed)?)];
        if let Some(element) = self.vision.reads("pixel_attention_mask") {
            let (shape, samples) = ([count, 1, side, side], count * side * side);
            // No picture is padded, so every pixel counts.
            let mask = match element {
                TensorElementType::Bool => Tensor::from_array((shape, vec![true; samples])).map(Tensor::into_dyn),
                _ => ints(&shape, vec![1; samples]),
            };
            inputs.push(("pixel_attention_mask".into(), mask.map_err(&failed)?));
        }
        let (_, features) = self.vision.run_one(inputs)?;
        if features.is_empty() || features.len() != count * self.image_tokens * self.width() {
            return Err(wrong_shape(&file));
        }
        Ok(features)
    }

    /// The vectors of tokens.
    pub(crate) fn embed(&mut self, ids: &[i64]) -> Result<Vec<f32>> {
        let input = ints(&[1, ids.len()], ids.to_vec()).map_err(run_error(&self.embed.file))?;
        let (_, vectors) = self.embed.run_one(vec![("input_ids".into(), input)])?;
        if vectors.len() != ids.len() * self.width() {
            return Err(wrong_shape(&self.embed.file));
        }
        Ok(vectors)
    }
}

impl Graphs {
    /// No keys yet, for some rows.
    pub(crate) fn no_keys(&self, rows: usize) -> Result<DecodedKeys> {
        let shape = [rows, self.text.key_value_heads(), 0, self.text.head_dim()];
        let failed = run_error(&self.decoder.file);
        let empty = || floats(self.cache_element, &shape, Vec::new()).map_err(&failed);
        let values = self.cache_names.iter().map(|_| empty()).collect::<Result<_>>()?;
        Ok(DecodedKeys { values, tokens: 0 })
    }

    /// Runs the decoder over `length` vectors of each row, behind the tokens of `keys`. Returns the logits of each
    /// row's last vector, rows × vocabulary, and the keys with those vectors.
    pub(crate) fn decode(
        &mut self,
        embeds: Vec<f32>,
        rows: usize,
        length: usize,
        keys: DecodedKeys,
    ) -> Result<(Vec<f32>, DecodedKeys)> {
        let failed = run_error(&self.decoder.file);
        let total = keys.tokens + length;
        let float = floats(self.embeds_element, &[rows, length, self.text.hidden_size], embeds).map_err(&failed)?;
        let mut own = vec![("inputs_embeds", float)];
        if self.decoder.reads("attention_mask").is_some() {
            own.push(("attention_mask", ints(&[rows, total], vec![1; rows * total]).map_err(&failed)?));
        }
        if self.decoder.reads("position_ids").is_some() {
            let positions = (keys.tokens as i64..total as i64).cycle().take(rows * length).collect();
            own.push(("position_ids", ints(&[rows, length], positions).map_err(&failed)?));
        }
        if self.decoder.reads("num_logits_to_keep").is_some() {
            let one = Tensor::from_array(([0usize; 0], vec![1i64])).map_err(&failed)?;
            own.push(("num_logits_to_keep", one.into_dyn()));
        }
        let past = self.cache_names.iter().zip(&keys.values).map(|((past, _), value)| (past.as_str(), value));
        let present: Vec<&str> = self.cache_names.iter().map(|(_, present)| present.as_str()).collect();
        let decoder = (&mut self.decoder.session, self.decoder.file.as_str());
        let (logits, values) = self.keeper.run(decoder, &own, past, &present)?;
        drop(keys);
        let logits = last_logits(&self.decoder.file, self.vocab(), &logits, rows)?;
        Ok((logits, DecodedKeys { values, tokens: total }))
    }

    /// The keys of some rows, in this order; a row may come several times.
    pub(crate) fn select(&mut self, keys: DecodedKeys, rows: &[usize]) -> Result<DecodedKeys> {
        Ok(DecodedKeys { values: self.keeper.select(keys.values, rows)?, tokens: keys.tokens })
    }
}

/// Names of the keys and values that a decoder reads and returns, `past_key_values.0.key` and `present.0.key` for the
/// first layer, and their type. `part` comes after the layer's number.
pub(super) fn cache_names(
    folder: &HubFolder,
    decoder: &NamedGraph,
    part: &str,
) -> Result<(Vec<(String, String)>, TensorElementType)> {
    let layers = folder.config.model.text_config.num_hidden_layers;
    let names = (0..layers).flat_map(|layer| ["key", "value"].map(|kind| format!("{layer}{part}.{kind}")));
    let names: Vec<(String, String)> =
        names.map(|n| (format!("past_key_values.{n}"), format!("present.{n}"))).collect();
    let mut element = TensorElementType::Float32;
    for (past, present) in &names {
        element = decoder.require(folder, past)?;
        if !decoder.session.outputs().iter().any(|o| o.name() == present) {
            return Err(folder.error(format!("{} has no output {present:?}", decoder.file), REMEDY));
        }
    }
    Ok((names, element))
}

/// Refuses a decoder that has more layers than the configuration says; one that has fewer lacks an input.
pub(super) fn check_layers(folder: &HubFolder, decoder: &NamedGraph, tensors: usize) -> Result<()> {
    let layers = decoder.inputs.iter().filter(|(n, _)| n.starts_with("past_key_values.")).count() / tensors;
    let said = folder.config.model.text_config.num_hidden_layers;
    if layers == said {
        return Ok(());
    }
    let cause = format!("{} has {layers} layers, and config.json {said}", decoder.file);
    Err(folder.error(cause, "Download both files again."))
}

/// The last vector's logits of each row.
pub(super) fn last_logits(file: &str, vocab: usize, logits: &DynValue, rows: usize) -> Result<Vec<f32>> {
    let (shape, all) = floats_of(logits).map_err(run_error(file))?;
    let (&[have, positions, width], true) = (shape.as_slice(), !all.is_empty()) else {
        return Err(wrong_shape(file));
    };
    if have != rows || width != vocab || positions == 0 {
        return Err(wrong_shape(file));
    }
    let last: Vec<f32> =
        all.chunks_exact(positions * vocab).flat_map(|row| &row[row.len() - vocab..]).copied().collect();
    if last.iter().any(|l| l.is_nan()) {
        let cause = format!("{file} gave logits that are not numbers");
        return Err(Error::runtime(cause, "Try another precision, or download the graph again."));
    }
    Ok(last)
}
