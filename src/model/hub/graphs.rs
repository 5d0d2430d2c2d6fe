//! The three graphs of a model that continues a prompt: pictures to features, tokens to vectors, vectors to logits.
//!
//! Inputs are fed by the names that the graphs themselves have, because exporters differ in which ones they keep. Owns the
//! sessions. Memory: the weights; what a run returns belongs to the caller.

use half::f16;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, PrimitiveTensorElementType, Tensor, TensorElementType};

use super::config::TextConfig;
use super::files::{DECODER, EMBED, HubFolder, VISION};
use super::rewrite::{RewrittenGraph, rewrite_decoder};
use crate::error::{Error, Result};
use crate::model::graph::{LEAST_ROWS, floats, floats_of, run_error, wrong_shape};
use crate::model::runtime::{Runtime, SessionOptions};

/// What to do about a graph that is not as expected.
const REMEDY: &str = "Export the model again in the layout of transformers.js, or download it.";

/// A graph, with the names and types of what it reads.
struct NamedGraph {
    session: Session,
    /// Its file, for messages.
    file: String,
    inputs: Vec<(String, TensorElementType)>,
}

impl NamedGraph {
    fn load(folder: &HubFolder, graph: &str, known: &[&str], options: &SessionOptions) -> Result<NamedGraph> {
        let file = folder.graph(graph);
        let wrong = |cause| folder.error(cause, "Download the graph again.");
        let session = Runtime::load()?.session_at(&folder.path(&file), &file, options, wrong)?;
        NamedGraph::of(folder, file, session, known)
    }

    /// A graph that was changed since it was read.
    fn load_rewritten(
        folder: &HubFolder,
        graph: &str,
        bytes: &[u8],
        known: &[&str],
        options: &SessionOptions,
    ) -> Result<NamedGraph> {
        let file = folder.graph(graph);
        let wrong = |cause| folder.error(cause, "Download the graph again.");
        let path = folder.path(&file);
        let dir = path.parent().unwrap_or(folder.dir());
        let session = Runtime::load()?.session_in_memory(bytes, dir, &file, options, wrong)?;
        NamedGraph::of(folder, file, session, known)
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
    fn reads(&self, name: &str) -> Option<TensorElementType> {
        self.inputs.iter().find(|(n, _)| n == name).map(|(_, element)| *element)
    }

    fn require(&self, folder: &HubFolder, name: &str) -> Result<TensorElementType> {
        let have = || self.inputs.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>().join(", ");
        self.reads(name)
            .ok_or_else(|| folder.error(format!("{} has no input {name:?}, only {}", self.file, have()), REMEDY))
    }

    /// The graph's only output as 32-bit floats: shape and values.
    fn run_one(&mut self, inputs: Vec<(String, DynValue)>) -> Result<(Vec<usize>, Vec<f32>)> {
        let failed = run_error(&self.file);
        let inputs: Vec<(String, SessionInputValue)> = inputs.into_iter().map(|(n, v)| (n, v.into())).collect();
        let outputs = self.session.run(inputs).map_err(&failed)?;
        let value = outputs.values().next().ok_or_else(|| wrong_shape(&self.file))?;
        floats_of(&value).map_err(&failed)
    }
}

fn ints(shape: &[usize], values: Vec<i64>) -> ort::Result<DynValue> {
    Ok(Tensor::from_array((shape, values))?.into_dyn())
}

/// The decoder's graph with the changes of [`rewrite_decoder`]; `None` if there are none.
fn rewritten_decoder(folder: &HubFolder) -> Result<Option<RewrittenGraph>> {
    let path = folder.path(&folder.graph(DECODER));
    let bytes = std::fs::read(&path).map_err(|e| Error::read(path.display().to_string(), &e))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(rewrite_decoder(&bytes, &name))
}

/// The graphs of a folder.
pub(crate) struct Graphs {
    vision: NamedGraph,
    embed: NamedGraph,
    decoder: NamedGraph,
    text: TextConfig,
    /// Features of one picture.
    image_tokens: usize,
    /// Names of what a step reads of the keys and values, and of what it returns.
    cache_names: Vec<(String, String)>,
    /// Type of keys and values.
    cache_element: TensorElementType,
    /// Type of embeddings in the decoder.
    embeds_element: TensorElementType,
    /// Whether the pictures of a prompt must be alone in a run of the image tower, whose integers have one scale.
    pub(crate) vision_alone: bool,
    /// The same for the decoder.
    pub(crate) alone: bool,
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
        let vision = NamedGraph::load(folder, VISION, &["pixel_values", "pixel_attention_mask"], options)?;
        let embed = NamedGraph::load(folder, EMBED, &["input_ids"], options)?;
        let known = ["inputs_embeds", "attention_mask", "position_ids", "past_key_values.", "num_logits_to_keep"];
        let (decoder, by_picture) = match rewritten_decoder(folder)? {
            Some(graph) => {
                let decoder = NamedGraph::load_rewritten(folder, DECODER, &graph.bytes, &known, options)?;
                (decoder, graph.scaled_by_picture)
            }
            None => (NamedGraph::load(folder, DECODER, &known, options)?, false),
        };
        vision.require(folder, "pixel_values")?;
        embed.require(folder, "input_ids")?;
        let embeds_element = decoder.require(folder, "inputs_embeds")?;
        let names =
            (0..text.num_hidden_layers).flat_map(|layer| ["key", "value"].map(|part| format!("{layer}.{part}")));
        let cache_names: Vec<(String, String)> =
            names.map(|n| (format!("past_key_values.{n}"), format!("present.{n}"))).collect();
        let mut cache_element = TensorElementType::Float32;
        for (past, present) in &cache_names {
            cache_element = decoder.require(folder, past)?;
            if !decoder.session.outputs().iter().any(|o| o.name() == present) {
                return Err(folder.error(format!("{} has no output {present:?}", decoder.file), REMEDY));
            }
        }
        let layers = decoder.inputs.iter().filter(|(n, _)| n.starts_with("past_key_values.")).count() / 2;
        if layers != text.num_hidden_layers {
            let cause = format!("{} has {layers} layers, and config.json {}", decoder.file, text.num_hidden_layers);
            return Err(folder.error(cause, "Download both files again."));
        }
        let image_tokens = folder.config.image_tokens();
        let scaled = folder.listing.precision.scales_by_batch();
        let mut graphs = Graphs {
            vision,
            embed,
            decoder,
            text,
            image_tokens,
            cache_names,
            cache_element,
            embeds_element,
            vision_alone: scaled,
            alone: scaled && !by_picture,
        };
        if by_picture && !graphs.keeps_pictures_apart() {
            graphs.decoder = NamedGraph::load(folder, DECODER, &known, options)?;
            graphs.alone = true;
        }
        Ok(graphs)
    }

    /// Whether pictures are the first dimension everywhere in the decoder, so that each can have a scale of its own. If its
    /// products flatten pictures and vectors into one, a step fails.
    fn keeps_pictures_apart(&mut self) -> bool {
        let embeds = vec![0.0; LEAST_ROWS * self.width()];
        self.no_keys(LEAST_ROWS).is_ok_and(|keys| self.decode(embeds, LEAST_ROWS, 1, keys).is_ok())
    }

    /// Values in a vector of the language model.
    pub(crate) fn width(&self) -> usize {
        self.text.hidden_size
    }

    /// Most tokens of a prompt and what follows.
    pub(crate) fn context(&self) -> usize {
        self.text.max_position_embeddings
    }

    /// Tokens in the vocabulary.
    pub(crate) fn vocab(&self) -> usize {
        self.text.vocab_size
    }

    /// Features of pictures: for each, image tokens × width. `pixels` holds `groups` × `each` pictures of three planes.
    pub(crate) fn features(&mut self, pixels: Vec<f32>, groups: usize, each: usize, side: usize) -> Result<Vec<f32>> {
        let file = self.vision.file.clone();
        let failed = run_error(&file);
        let element = self.vision.reads("pixel_values").unwrap_or(TensorElementType::Float32);
        let nested = self.vision.session.inputs().iter().find(|i| i.name() == "pixel_values");
        // Graphs that take several pictures a prompt have a dimension for them; others take all pictures in one.
        let nested = nested.and_then(|i| i.dtype().tensor_shape()).is_some_and(|s| s.len() == 5);
        let shape = if nested { vec![groups, each, 3, side, side] } else { vec![groups * each, 3, side, side] };
        let mut inputs = vec![("pixel_values".to_string(), floats(element, &shape, pixels).map_err(&failed)?)];
        if let Some(element) = self.vision.reads("pixel_attention_mask") {
            let (shape, count) = ([groups, each, side, side], groups * each * side * side);
            // No picture is padded, so every pixel counts.
            let mask = match element {
                TensorElementType::Bool => Tensor::from_array((shape, vec![true; count])).map(Tensor::into_dyn),
                _ => ints(&shape, vec![1; count]),
            };
            inputs.push(("pixel_attention_mask".into(), mask.map_err(&failed)?));
        }
        let (_, features) = self.vision.run_one(inputs)?;
        if features.len() != groups * each * self.image_tokens * self.width() {
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

    /// No keys yet, for some rows.
    pub(crate) fn no_keys(&self, rows: usize) -> Result<DecodedKeys> {
        let shape = [rows, self.text.key_value_heads(), 0, self.text.head_dim()];
        let failed = run_error(&self.decoder.file);
        let empty = || floats(self.cache_element, &shape, Vec::new()).map_err(&failed);
        let values = self.cache_names.iter().map(|_| empty()).collect::<Result<_>>()?;
        Ok(DecodedKeys { values, tokens: 0 })
    }

    /// Runs the decoder over `length` vectors of each row, behind the tokens of `keys`. Returns the logits of each row's
    /// last vector, rows × vocabulary, and the keys with those vectors.
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
        let mut inputs: Vec<(String, SessionInputValue)> = vec![("inputs_embeds".into(), float.into())];
        if self.decoder.reads("attention_mask").is_some() {
            let mask = ints(&[rows, total], vec![1; rows * total]).map_err(&failed)?;
            inputs.push(("attention_mask".into(), mask.into()));
        }
        if self.decoder.reads("position_ids").is_some() {
            let positions = (keys.tokens as i64..total as i64).cycle().take(rows * length).collect();
            inputs.push(("position_ids".into(), ints(&[rows, length], positions).map_err(&failed)?.into()));
        }
        if self.decoder.reads("num_logits_to_keep").is_some() {
            let one = Tensor::from_array(([0usize; 0], vec![1i64])).map_err(&failed)?;
            inputs.push(("num_logits_to_keep".into(), one.into_dyn().into()));
        }
        inputs.extend(self.cache_names.iter().zip(keys.values).map(|((past, _), value)| (past.clone(), value.into())));
        let mut outputs = self.decoder.session.run(inputs).map_err(&failed)?;
        let missing = || wrong_shape(&self.decoder.file);
        let logits = outputs.remove("logits").ok_or_else(missing)?;
        let values = self.cache_names.iter().map(|(_, present)| outputs.remove(present).ok_or_else(missing));
        let values = values.collect::<Result<_>>()?;
        drop(outputs);
        let logits = self.last_logits(&logits, rows)?;
        Ok((logits, DecodedKeys { values, tokens: total }))
    }

    /// The last vector's logits of each row.
    fn last_logits(&self, logits: &DynValue, rows: usize) -> Result<Vec<f32>> {
        let vocab = self.vocab();
        let (shape, all) = floats_of(logits).map_err(run_error(&self.decoder.file))?;
        let (&[have, positions, width], true) = (shape.as_slice(), !all.is_empty()) else {
            return Err(wrong_shape(&self.decoder.file));
        };
        if have != rows || width != vocab || positions == 0 {
            return Err(wrong_shape(&self.decoder.file));
        }
        let last: Vec<f32> =
            all.chunks_exact(positions * vocab).flat_map(|row| &row[row.len() - vocab..]).copied().collect();
        if last.iter().any(|l| l.is_nan()) {
            let cause = format!("{} gave logits that are not numbers", self.decoder.file);
            return Err(Error::runtime(cause, "Try another precision, or download the graph again."));
        }
        Ok(last)
    }

    /// The keys of some rows, in this order; a row may come several times.
    pub(crate) fn select(&self, keys: DecodedKeys, rows: &[usize]) -> Result<DecodedKeys> {
        let failed = run_error(&self.decoder.file);
        let half = self.cache_element == TensorElementType::Float16;
        let select = |value| if half { select_rows::<f16>(value, rows) } else { select_rows::<f32>(value, rows) };
        let values = keys.values.into_iter().map(|v| select(v).map_err(&failed)).collect::<Result<_>>()?;
        Ok(DecodedKeys { values, tokens: keys.tokens })
    }
}

/// Some rows of a tensor, in this order. All of them in their order cost nothing.
fn select_rows<T>(value: DynValue, rows: &[usize]) -> ort::Result<DynValue>
where
    T: PrimitiveTensorElementType + Copy + std::fmt::Debug + 'static,
{
    let (shape, all) = value.try_extract_tensor::<T>()?;
    let mut shape: Vec<usize> = shape.iter().map(|&n| n.max(0) as usize).collect();
    let have = shape.first().copied().unwrap_or(0);
    if rows.len() == have && rows.iter().enumerate().all(|(n, &row)| n == row) {
        return Ok(value);
    }
    let size = all.len() / have.max(1);
    let mut data = Vec::with_capacity(rows.len() * size);
    rows.iter().for_each(|&row| data.extend_from_slice(&all[row * size..(row + 1) * size]));
    shape[0] = rows.len();
    Ok(Tensor::from_array((shape, data))?.into_dyn())
}
