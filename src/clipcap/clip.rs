//! CLIP as it is published: a Hugging Face folder, or OpenAI's own file.
//!
//! Both hold the same networks under different names. Shapes come from the configuration of a folder, and from the tensors of
//! a file.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::layout::{Layout, side_of};
use super::net::WeightPrecision;
use super::resnet::ResnetShape;
use super::transformer::{Activation, TextShape, TransformerShape, VitShape};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::limited_file::read_bytes;
use crate::model::GraphBuilder;

/// Largest config.json.
const LARGEST_CONFIG: u64 = 4 << 20;
/// What to do about a folder that is no CLIP.
const OTHER_FOLDER: &str =
    "Name a folder of CLIP in Hugging Face's layout (config.json, model.safetensors), or OpenAI's file.";

/// An image tower of either kind.
pub(super) enum ImageTower {
    Vit(VitShape),
    Resnet(ResnetShape),
}

/// A CLIP whose tensors have been found.
pub(super) struct Clip {
    checkpoint: Checkpoint,
    layout: Layout,
    image: ImageTower,
    text: Option<TextShape>,
}

impl Clip {
    /// Opens a folder or a file; with `text` also its text tower.
    pub(super) fn open(path: &Path, text: bool) -> Result<Clip> {
        if path.is_dir() { of_folder(path, text) } else { of_file(path, text) }
    }

    /// Pixels along a side of a picture.
    pub(super) fn size(&self) -> usize {
        match &self.image {
            ImageTower::Vit(vit) => vit.size,
            ImageTower::Resnet(resnet) => resnet.size,
        }
    }

    /// Values of an embedding.
    pub(super) fn embedding(&self) -> usize {
        match &self.image {
            ImageTower::Vit(vit) => vit.common.out,
            ImageTower::Resnet(resnet) => resnet.out,
        }
    }

    /// Tokens of a text, if there is a text tower.
    pub(super) fn context(&self) -> Option<usize> {
        self.text.map(|text| text.context)
    }

    pub(super) fn image_graph(&self, precision: WeightPrecision) -> Result<GraphBuilder> {
        match &self.image {
            ImageTower::Vit(vit) => vit.graph(&self.checkpoint, self.layout, precision),
            ImageTower::Resnet(resnet) => resnet.graph(&self.checkpoint, precision),
        }
    }

    /// The text tower's graph, if there is one.
    pub(super) fn text_graph(&self, precision: WeightPrecision) -> Option<Result<GraphBuilder>> {
        self.text.map(|text| text.graph(&self.checkpoint, self.layout, precision))
    }
}

// ---- Hugging Face's layout

/// What config.json says of both towers. It leaves out values that equal the class's defaults.
#[derive(Deserialize)]
struct TowersConfig {
    projection_dim: Option<usize>,
    #[serde(default)]
    vision_config: TowerConfig,
    #[serde(default)]
    text_config: TowerConfig,
}

#[derive(Deserialize, Default)]
struct TowerConfig {
    hidden_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    intermediate_size: Option<usize>,
    hidden_act: Option<String>,
    layer_norm_eps: Option<f32>,
    image_size: Option<usize>,
    patch_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    vocab_size: Option<usize>,
    eos_token_id: Option<i64>,
}

impl TowerConfig {
    /// The shape, with the class's defaults: width, layers, heads, hidden values.
    fn shape(&self, out: usize, defaults: [usize; 4]) -> Result<TransformerShape, String> {
        let [width, layers, heads, hidden] = defaults;
        let shape = TransformerShape {
            width: self.hidden_size.unwrap_or(width),
            layers: self.num_hidden_layers.unwrap_or(layers),
            heads: self.num_attention_heads.unwrap_or(heads),
            hidden: self.intermediate_size.unwrap_or(hidden),
            out,
            activation: match self.hidden_act.as_deref() {
                None | Some("quick_gelu") => Activation::QuickGelu,
                Some("gelu") => Activation::Gelu,
                Some("gelu_pytorch_tanh") => Activation::GeluTanh,
                Some(other) => return Err(format!("its hidden_act {other:?} is unknown")),
            },
            epsilon: self.layer_norm_eps.unwrap_or(1e-5),
        };
        checked(shape)
    }
}

/// A shape that networks can have.
fn checked(shape: TransformerShape) -> Result<TransformerShape, String> {
    let TransformerShape { width, layers, heads, .. } = shape;
    if layers == 0 || heads == 0 || width == 0 || !width.is_multiple_of(heads) {
        return Err(format!("{layers} layers of {heads} heads and {width} values are no transformer"));
    }
    Ok(shape)
}

fn of_folder(folder: &Path, text: bool) -> Result<Clip> {
    let refused = |cause: String| Error::model(folder.display().to_string(), cause, OTHER_FOLDER);
    let path = folder.join("config.json");
    let config = read_bytes(&path, LARGEST_CONFIG).map_err(|e| Error::read(path.display().to_string(), &e))?;
    let config: TowersConfig =
        serde_json::from_slice(&config).map_err(|e| refused(format!("its config.json is not that of a CLIP: {e}")))?;
    let checkpoint = Checkpoint::of_files(folder, &weights_of(folder)?)?;
    let out = config.projection_dim.unwrap_or(512);
    let common = config.vision_config.shape(out, [768, 12, 12, 3072]).map_err(refused)?;
    let (size, patch) = (config.vision_config.image_size.unwrap_or(224), config.vision_config.patch_size.unwrap_or(32));
    if patch == 0 || size < patch {
        return Err(refused(format!("pictures of {size} pixels have no patches of {patch}")));
    }
    // A convolution would ignore the pixels beyond the last whole patch. No published tower has any.
    if !size.is_multiple_of(patch) {
        return Err(refused(format!("its pictures of {size} pixels are no whole patches of {patch}")));
    }
    let text = if text { Some(text_of_config(&config.text_config, out).map_err(refused)?) } else { None };
    let image = ImageTower::Vit(VitShape { common, size, patch });
    Ok(Clip { checkpoint, layout: Layout::HuggingFace, image, text })
}

fn text_of_config(part: &TowerConfig, out: usize) -> Result<TextShape, String> {
    let end = part.eos_token_id.unwrap_or(49407);
    Ok(TextShape {
        common: part.shape(out, [512, 12, 8, 2048])?,
        context: part.max_position_embeddings.unwrap_or(77),
        vocab: part.vocab_size.unwrap_or(49408),
        // Old configurations say 2 and mean the highest id.
        end: (end != 2).then_some(end),
    })
}

/// The files of a folder's weights, sorted.
fn weights_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let name = || folder.display().to_string();
    let entries = std::fs::read_dir(folder).map_err(|e| Error::read(name(), &e))?;
    let mut all =
        entries.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>().map_err(|e| Error::read(name(), &e))?;
    all.sort();
    let named = |path: &Path, begin: &str, end: &str| {
        path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(begin) && n.ends_with(end))
    };
    let of = |begin: &str, end: &str| all.iter().filter(|p| named(p, begin, end)).cloned().collect::<Vec<_>>();
    let mut found = of("", ".safetensors");
    if found.is_empty() {
        found = of("pytorch_model", ".bin");
    }
    if found.is_empty() {
        return Err(Error::model(name(), "there is no model.safetensors and no pytorch_model.bin", OTHER_FOLDER));
    }
    Ok(found)
}

// ---- OpenAI's layout

fn of_file(path: &Path, text: bool) -> Result<Clip> {
    let checkpoint = Checkpoint::open(path)?;
    let of = &checkpoint;
    let image = if of.get("visual.proj").is_some() {
        ImageTower::Vit(openai_vit(of)?)
    } else if of.get("visual.attnpool.positional_embedding").is_some() {
        ImageTower::Resnet(ResnetShape::find(of)?)
    } else {
        let cause = "neither visual.proj (ViT) nor visual.attnpool (ResNet): not one of OpenAI's CLIP files";
        return Err(of.error(cause.into()));
    };
    let text = if text { Some(openai_text(of)?) } else { None };
    Ok(Clip { checkpoint, layout: Layout::OpenAi, image, text })
}

/// A transformer of OpenAI's files, whose heads are always 64 wide.
fn openai_transformer(of: &Checkpoint, before: &str, width: usize, out: usize) -> Result<TransformerShape> {
    let [hidden, _] = of.sizes(&format!("{before}0.mlp.c_fc.weight"))?;
    let shape = TransformerShape {
        width,
        layers: of.layers(before),
        heads: width / 64,
        hidden,
        out,
        activation: Activation::QuickGelu,
        epsilon: 1e-5,
    };
    checked(shape).map_err(|cause| of.error(cause))
}

fn openai_vit(of: &Checkpoint) -> Result<VitShape> {
    let [width, _, patch, _] = of.sizes("visual.conv1.weight")?;
    let [_, out] = of.sizes("visual.proj")?;
    let [places, _] = of.sizes("visual.positional_embedding")?;
    let common = openai_transformer(of, "visual.transformer.resblocks.", width, out)?;
    let side = side_of(of, "visual.positional_embedding", places)?;
    Ok(VitShape { common, size: side * patch, patch })
}

fn openai_text(of: &Checkpoint) -> Result<TextShape> {
    let [vocab, width] = of.sizes("token_embedding.weight")?;
    let [_, out] = of.sizes("text_projection")?;
    let [context, _] = of.sizes("positional_embedding")?;
    let common = openai_transformer(of, "transformer.resblocks.", width, out)?;
    Ok(TextShape { common, context, vocab, end: None })
}
