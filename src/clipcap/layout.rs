//! The two layouts of CLIP: how Hugging Face and how OpenAI name the same tensors.

use crate::checkpoint::Checkpoint;
use crate::error::Result;

/// How the tensors are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    HuggingFace,
    OpenAi,
}

/// Names of a tower's tensors.
pub(super) struct TowerNames {
    pub(super) patches: &'static str,
    pub(super) class: &'static str,
    pub(super) table: &'static str,
    pub(super) place: &'static str,
    pub(super) norm_before: &'static str,
    pub(super) norm_after: &'static str,
    pub(super) layers: &'static str,
    pub(super) out: &'static str,
}

/// Names of a layer's tensors.
pub(super) struct BlockNames {
    pub(super) norm_1: &'static str,
    pub(super) norm_2: &'static str,
    pub(super) out: &'static str,
    pub(super) wide: &'static str,
    pub(super) narrow: &'static str,
}

impl Layout {
    pub(super) fn image(self) -> TowerNames {
        match self {
            Layout::HuggingFace => TowerNames {
                patches: "vision_model.embeddings.patch_embedding.weight",
                class: "vision_model.embeddings.class_embedding",
                place: "vision_model.embeddings.position_embedding.weight",
                // This is how the layout spells it.
                norm_before: "vision_model.pre_layrnorm",
                norm_after: "vision_model.post_layernorm",
                layers: "vision_model.encoder.layers.",
                out: "visual_projection.weight",
                ..TowerNames::NONE
            },
            Layout::OpenAi => TowerNames {
                patches: "visual.conv1.weight",
                class: "visual.class_embedding",
                place: "visual.positional_embedding",
                norm_before: "visual.ln_pre",
                norm_after: "visual.ln_post",
                layers: "visual.transformer.resblocks.",
                out: "visual.proj",
                ..TowerNames::NONE
            },
        }
    }

    pub(super) fn text(self) -> TowerNames {
        match self {
            Layout::HuggingFace => TowerNames {
                table: "text_model.embeddings.token_embedding.weight",
                place: "text_model.embeddings.position_embedding.weight",
                norm_after: "text_model.final_layer_norm",
                layers: "text_model.encoder.layers.",
                out: "text_projection.weight",
                ..TowerNames::NONE
            },
            Layout::OpenAi => TowerNames {
                table: "token_embedding.weight",
                place: "positional_embedding",
                norm_after: "ln_final",
                layers: "transformer.resblocks.",
                out: "text_projection",
                ..TowerNames::NONE
            },
        }
    }

    pub(super) fn block(self) -> BlockNames {
        match self {
            Layout::HuggingFace => BlockNames {
                norm_1: "layer_norm1",
                norm_2: "layer_norm2",
                out: "self_attn.out_proj",
                wide: "mlp.fc1",
                narrow: "mlp.fc2",
            },
            Layout::OpenAi => BlockNames {
                norm_1: "ln_1",
                norm_2: "ln_2",
                out: "attn.out_proj",
                wide: "mlp.c_fc",
                narrow: "mlp.c_proj",
            },
        }
    }
}

/// Names of a tower that a layout does not have are empty.
impl TowerNames {
    pub(super) const NONE: TowerNames = TowerNames {
        patches: "",
        class: "",
        table: "",
        place: "",
        norm_before: "",
        norm_after: "",
        layers: "",
        out: "",
    };
}

/// Cells along a side of a square of cells, which have a place each beside the first one.
pub(super) fn side_of(of: &Checkpoint, name: &str, places: usize) -> Result<usize> {
    let side = places.saturating_sub(1).isqrt();
    if side == 0 || side * side + 1 != places {
        return Err(of.error(format!("tensor {name} has {places} places, which are no square and one more")));
    }
    Ok(side)
}
