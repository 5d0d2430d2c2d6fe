//! What is known about published checkpoints, and what the user says about others.

use std::fmt::{self, Display};
use std::str::FromStr;

use super::gpt2::Gpt2Shape;
use super::mapper::MapperShape;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;

/// A published checkpoint of ClipCap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// COCO captions, MLP mapper, CLIP ViT-B/32.
    CocoMlp,
    /// Conceptual Captions, MLP mapper, CLIP ViT-B/32.
    ConceptualMlp,
    /// COCO captions, transformer mapper, CLIP RN50x4.
    CocoTransformer,
}

impl Preset {
    /// All presets.
    pub const ALL: [Preset; 3] = [Preset::CocoMlp, Preset::ConceptualMlp, Preset::CocoTransformer];
    /// Attention heads of their language model, which is GPT-2 small.
    pub(super) const HEADS: usize = 12;
    /// Its other sizes, which the tensors show.
    const GPT2: (usize, usize) = (768, 12);

    /// Its name on the command line, and of the model.
    pub fn name(self) -> &'static str {
        match self {
            Preset::CocoMlp => "coco-mlp",
            Preset::ConceptualMlp => "conceptual-mlp",
            Preset::CocoTransformer => "coco-transformer",
        }
    }

    /// The data that it was trained on.
    pub(super) fn trained_on(self) -> &'static str {
        match self {
            Preset::CocoMlp | Preset::CocoTransformer => "COCO captions",
            Preset::ConceptualMlp => "Conceptual Captions",
        }
    }

    /// Whether its mapper reads embeddings of length 1.
    pub(super) fn normalize_prefix(self) -> bool {
        self == Preset::CocoTransformer
    }

    /// The token that ends its captions.
    pub(super) fn stop_token(self) -> &'static str {
        "."
    }

    /// Refuses a checkpoint whose shapes are not those of the published one.
    pub(super) fn check(self, of: &Checkpoint) -> Result<()> {
        let (kind, prefix, embedding) = match self {
            Preset::CocoMlp | Preset::ConceptualMlp => ("mlp", 10, 512),
            Preset::CocoTransformer => ("transformer", 40, 640),
        };
        let (found_width, found_layers) = Gpt2Shape::width_and_layers(of)?;
        let mapper = MapperShape::find(of, found_width)?;
        let (width, layers) = Preset::GPT2;
        let each = [
            ("mapper", mapper.kind.name().to_string(), kind.to_string()),
            ("prefix length", mapper.prefix.to_string(), prefix.to_string()),
            ("embedding width", mapper.embedding.to_string(), embedding.to_string()),
            ("GPT-2's width", found_width.to_string(), width.to_string()),
            ("number of GPT-2's layers", found_layers.to_string(), layers.to_string()),
        ];
        let Some((what, found, wanted)) = each.into_iter().find(|(_, found, wanted)| found != wanted) else {
            return Ok(());
        };
        let cause = format!("not {self}: its {what} is {found}, the preset's is {wanted}");
        let remedy = message![
            "Name that checkpoint, or give ",
            Setting::NormalizePrefix,
            ", ",
            Setting::StopToken,
            " and ",
            Setting::Heads,
            " instead of ",
            Setting::Preset,
            ".",
        ];
        Err(Error::model(of.name(), cause, remedy))
    }
}

impl Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Preset {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Preset, String> {
        let names = Preset::ALL.map(Preset::name).join(", ");
        Preset::ALL.into_iter().find(|p| p.name() == name).ok_or_else(|| format!("{name:?} is none of {names}"))
    }
}
