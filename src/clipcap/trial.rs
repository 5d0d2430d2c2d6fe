//! What 8-bit integers change on real pictures: tokens and probabilities of captions, and embeddings.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;

use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::message;
use crate::message::Setting;
use crate::model::{CaptionOptions, EncodeOptions, ModelFolder, ModelOptions, Models};
use crate::pipeline::{self, Model, StillOptions};

/// Least cosine of a picture's embedding in integers with the one in floats.
const LEAST_COSINE: f64 = 0.99;

/// What integers change, against 32-bit floats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RoundingCost {
    /// Pictures that were tried.
    pub pictures: usize,
    /// Least cosine of an embedding with its exact one.
    #[serde(rename = "least cosine")]
    pub least_cosine: f64,
    /// Mean of these cosines.
    #[serde(rename = "mean cosine")]
    pub mean_cosine: f64,
    /// Share of a caption's tokens that are the same, on average.
    #[serde(rename = "tokens alike")]
    pub tokens_alike: f64,
    /// Share of the captions that are the same.
    #[serde(rename = "captions alike")]
    pub captions_alike: f64,
    /// How much the mean log-probability of a token rises, on average.
    #[serde(rename = "change of mean log-probability")]
    pub logprob_change: f64,
}

impl RoundingCost {
    /// Refuses a model whose embeddings change too much.
    pub(super) fn check(&self, out: &Path) -> Result<()> {
        if self.least_cosine >= LEAST_COSINE {
            return Ok(());
        }
        let cause = format!(
            "not written, because int8 changes the embeddings of real pictures too much: {}; the least cosine must be \
             {LEAST_COSINE}",
            json!(self)
        );
        Err(Error::output(out.display().to_string(), cause, message!["Use fp16 as ", Setting::Precision, "."]))
    }
}

/// What a model makes of a picture.
struct Described {
    embedding: Vec<f32>,
    ids: Vec<i64>,
    mean_logprob: f64,
}

/// Compares two model folders on pictures.
pub(super) fn rounding_cost(
    exact: &Path,
    rounded: &Path,
    pictures: &[PathBuf],
    interrupt: &Interrupt,
) -> Result<RoundingCost> {
    let (before, after) = (describe(exact, pictures, interrupt)?, describe(rounded, pictures, interrupt)?);
    let pairs: Vec<(&Described, &Described)> = before.iter().zip(&after).collect();
    let mean = |value: &dyn Fn(&Described, &Described) -> f64| {
        pairs.iter().map(|(b, a)| value(b, a)).sum::<f64>() / pairs.len().max(1) as f64
    };
    let places = |value: f64, places: i32| (value * 10f64.powi(places)).round() / 10f64.powi(places);
    let least = pairs.iter().map(|(b, a)| cosine(b, a)).fold(1.0, f64::min);
    Ok(RoundingCost {
        pictures: pairs.len(),
        least_cosine: places(least, 5),
        mean_cosine: places(mean(&cosine), 5),
        tokens_alike: places(mean(&alike), 4),
        captions_alike: places(mean(&|b, a| f64::from(u8::from(b.ids == a.ids))), 4),
        logprob_change: places(mean(&|b, a| a.mean_logprob - b.mean_logprob), 5),
    })
}

/// Cosine of two embeddings of length 1. NaN counts as the worst.
fn cosine(b: &Described, a: &Described) -> f64 {
    let cosine: f64 = b.embedding.iter().zip(&a.embedding).map(|(b, a)| f64::from(*b) * f64::from(*a)).sum();
    if cosine.is_finite() { cosine.min(1.0) } else { -1.0 }
}

/// Share of the tokens that are the same at the same place.
fn alike(b: &Described, a: &Described) -> f64 {
    let same = b.ids.iter().zip(&a.ids).filter(|(b, a)| b == a).count();
    same as f64 / b.ids.len().max(a.ids.len()).max(1) as f64
}

fn describe(folder: &Path, pictures: &[PathBuf], interrupt: &Interrupt) -> Result<Vec<Described>> {
    let models = Models::from(ModelFolder::open(folder)?);
    let batch = StillOptions::default().batch;
    let options = ModelOptions {
        encode: EncodeOptions { batch, ..EncodeOptions::default() },
        caption: CaptionOptions { batch, ..CaptionOptions::default() },
        ..ModelOptions::default()
    };
    let model = Model::of(&models, options)?;
    let mut all = Vec::new();
    pipeline::stills(pictures, StillOptions::default(), model, interrupt, |_, still| {
        let (encoded, caption) = still?;
        let mean_logprob = f64::from(caption.mean_logprob);
        all.push(Described { embedding: encoded.unit(), ids: caption.ids, mean_logprob });
        Ok(true)
    })?;
    if interrupt.is_set() {
        return Err(Error::Interrupted);
    }
    Ok(all)
}
