//! A model folder in several lines for people, as `descry model show` prints it.

use std::fmt;

use crate::media::resize::Resample;
use crate::model::folder::ModelFolder;
use crate::model::hub::HubFolder;
use crate::model::manifest::{CaptionerSpec, EmbedderSpec, Manifest, MapperInput, Resize};
use crate::model::models::{CaptionModel, FoundModel, Models};
use crate::model::score::{EvidenceSpec, ScoreSpec};
use crate::model::support::SupportSpec;
use crate::printable::printable;

impl fmt::Display for ModelFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let m = self.manifest();
        let mut line = |key: &str, value: String| {
            if value.is_empty() { Ok(()) } else { writeln!(f, "{key:<12} {}", printable(&value)) }
        };
        line("model", m.title())?;
        line("folder", self.dir().display().to_string())?;
        line("description", m.description.clone())?;
        line("licence", m.licence.clone())?;
        line("trained on", m.trained_on.clone())?;
        line("parts", parts(m))?;
        line("image", image(m))?;
        if let Some(grid) = m.image.grid {
            line("grid", format!("{} × {}", grid.cells, grid.dim))?;
        }
        if let Some(e) = &m.embedder {
            line("embedding", e.dimension.to_string())?;
            line("text tower", text_tower(e))?;
            line("dedup", dedup(e))?;
        }
        if let Some(c) = &m.captioner {
            line("mapper", mapper(c))?;
            line("decoder", decoder(c))?;
            line("decoding", decoding(c))?;
            line("score", score(c))?;
        }
        let total: u64 = m.files.values().map(|s| s.bytes).sum();
        let checked = if self.precision().is_some() { "" } else { ", all as the manifest says" };
        line("files", format!("{} in {:.1} MB{checked}:", m.files.len(), total as f64 / 1e6))?;
        let width = m.files.keys().map(|name| name.len()).max().unwrap_or(0).max(24);
        for (name, spec) in &m.files {
            writeln!(f, "  {name:<width$} {:>12}  {}", spec.bytes, spec.sha256)?;
        }
        Ok(())
    }
}

impl fmt::Display for HubFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |key: &str, value: String| writeln!(f, "{key:<12} {}", printable(&value));
        line("model", self.title())?;
        line("folder", self.dir().display().to_string())?;
        for (key, value) in self.facts() {
            line(key, value)?;
        }
        line("files", format!("{} in {:.1} MB:", self.listing.files.len(), self.bytes() as f64 / 1e6))?;
        for file in &self.listing.files {
            writeln!(f, "  {:<44} {:>12}  {}", file.name, file.bytes, file.sha256)?;
        }
        Ok(())
    }
}

impl fmt::Display for FoundModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FoundModel::Folder(folder) => folder.fmt(f),
            FoundModel::Hub(folder) => folder.fmt(f),
        }
    }
}

impl fmt::Display for Models {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.captioner {
            CaptionModel::ClipCap(folder) if self.share_tower() => folder.fmt(f),
            CaptionModel::ClipCap(folder) => write!(f, "{folder}\nembeddings come from:\n{}", self.embedder),
            CaptionModel::Hub(folder) => write!(f, "{folder}\nembeddings come from:\n{}", self.embedder),
            CaptionModel::Server(server) => {
                writeln!(f, "{:<12} {}", "model", server.title())?;
                writeln!(f, "{:<12} {}", "server", server.shown())?;
                write!(f, "\nembeddings come from:\n{}", self.embedder)
            }
        }
    }
}

fn parts(m: &Manifest) -> String {
    match (&m.embedder, &m.captioner) {
        (Some(_), Some(_)) => "embedder and captioner",
        (Some(_), None) => "embedder",
        (None, _) => "captioner",
    }
    .into()
}

fn image(m: &Manifest) -> String {
    let shape = match m.image.resize {
        Resize::Squash => "squashed to a square",
        Resize::Crop | Resize::CropFrom(_) => "shorter side resized, middle square",
    };
    let filter = match m.image.resample {
        Resample::Bicubic => "bicubic",
        Resample::Bilinear => "bilinear",
        Resample::Lanczos => "lanczos",
    };
    format!("{0}×{0}, {shape}, {filter}", m.image.size)
}

fn text_tower(e: &EmbedderSpec) -> String {
    e.text.as_ref().map_or("no".into(), |text| format!("yes, {} tokens", text.context_length))
}

fn dedup(e: &EmbedderSpec) -> String {
    e.dedup.map_or(String::new(), |d| format!("same from {}, returning from {}", d.same, d.returning))
}

fn mapper(c: &CaptionerSpec) -> String {
    let input = match c.mapper.input {
        MapperInput::Embedding if c.mapper.normalize_prefix => "normalised embedding",
        MapperInput::Embedding => "embedding",
        MapperInput::Grid => "grid",
    };
    let support = if c.mapper.support { " and the support of words" } else { "" };
    format!("{input} → {} prefix vectors{support}", c.mapper.prefix_length)
}

fn decoder(c: &CaptionerSpec) -> String {
    let d = &c.decoder;
    format!("{} layers, {} heads, width {}, vocabulary {}, context {}", d.layers, d.heads, d.width, d.vocab, d.context)
}

fn decoding(c: &CaptionerSpec) -> String {
    let d = &c.decoding;
    let support = d.support.as_ref().map_or(String::new(), support);
    format!(
        "beam {}, at most {} tokens, temperature {}, stop {:?}{support}",
        d.beam, d.max_tokens, d.temperature, d.stop_tokens
    )
}

/// How the support of words is weighed, and where captions are cut.
fn support(s: &SupportSpec) -> String {
    let least = s.least.map_or(String::new(), |least| format!(", cut before words of support below {least}"));
    let repeats = if s.repeats { "" } else { ", cut before repeated words" };
    let open = match s.open.len() {
        0 => String::new(),
        count => format!(", never ending on {count} open tokens"),
    };
    format!(", support of words with weight {} among {} candidates{least}{repeats}{open}", s.weight, s.candidates)
}

fn score(c: &CaptionerSpec) -> String {
    let calibrated = |s: &ScoreSpec| {
        let evidence = s.evidence.as_ref().map_or(String::new(), |e| format!(", evidence {}", evidence(e)));
        format!("calibrated at {} points, default minimum {}{evidence}", s.calibration.len(), s.default_min_score)
    };
    c.score.as_ref().map_or(String::new(), calibrated)
}

/// The weighted sum that a score comes from.
fn evidence(weights: &EvidenceSpec) -> String {
    let used = weights.weights().into_iter().filter(|(_, weight)| *weight != 0.0);
    used.map(|(name, weight)| format!("{weight} × {name}")).collect::<Vec<_>>().join(" + ")
}
