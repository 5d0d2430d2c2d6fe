//! A model folder in several lines for people, as `descry model show` prints it.

use std::fmt;

use crate::media::resize::Resample;
use crate::model::folder::ModelFolder;
use crate::model::hub::HubFolder;
use crate::model::manifest::{Manifest, MapperInput, Resize};
use crate::model::models::{CaptionModel, Models};

impl fmt::Display for ModelFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let m = self.manifest();
        let mut line = |key: &str, value: String| {
            if value.is_empty() { Ok(()) } else { writeln!(f, "{key:<12} {value}") }
        };
        line("model", m.title())?;
        line("folder", self.dir().display().to_string())?;
        line("description", m.description.clone())?;
        line("licence", m.licence.clone())?;
        line("trained on", m.trained_on.clone())?;
        line("image", image(m))?;
        let grid = m.image.grid.map(|g| format!(", grid {} × {}", g.cells, g.dim)).unwrap_or_default();
        line("embedding", format!("{}{grid}", m.image.embedding_dim))?;
        line("mapper", mapper(m))?;
        line("decoder", decoder(m))?;
        line("decoding", decoding(m))?;
        if let Some(s) = &m.score {
            line(
                "score",
                format!("calibrated at {} points, default minimum {}", s.calibration.len(), s.default_min_score),
            )?;
        }
        if let Some(d) = &m.dedup {
            line("dedup", format!("same from {}, returning from {}", d.same, d.returning))?;
        }
        line("text tower", if m.text.is_some() { "yes".into() } else { "no".into() })?;
        let total: u64 = m.files.values().map(|s| s.bytes).sum();
        line("files", format!("{} in {:.1} MB, all as the manifest says:", m.files.len(), total as f64 / 1e6))?;
        for (name, spec) in &m.files {
            writeln!(f, "  {name:<24} {:>12}  {}", spec.bytes, spec.sha256)?;
        }
        Ok(())
    }
}

impl fmt::Display for HubFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |key: &str, value: String| writeln!(f, "{key:<12} {value}");
        line("model", self.title())?;
        line("folder", self.dir().display().to_string())?;
        for (key, value) in self.facts() {
            line(key, value)?;
        }
        line("files", format!("{} in {:.1} MB:", self.files.len(), self.bytes() as f64 / 1e6))?;
        for file in &self.files {
            writeln!(f, "  {:<44} {:>12}  {}", file.name, file.bytes, file.sha256)?;
        }
        Ok(())
    }
}

impl fmt::Display for Models {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.captioner {
            CaptionModel::ClipCap(folder) => folder.fmt(f),
            CaptionModel::Hub(folder) => write!(f, "{folder}\nembeddings come from:\n{}", self.embedder),
            CaptionModel::Server(server) => {
                writeln!(f, "{:<12} {}", "model", server.title())?;
                writeln!(f, "{:<12} {}", "server", server.shown())?;
                write!(f, "\nembeddings come from:\n{}", self.embedder)
            }
        }
    }
}

fn image(m: &Manifest) -> String {
    let shape = match m.image.resize {
        Resize::Squash => "squashed to a square",
        Resize::Crop => "shorter side resized, middle square",
    };
    let filter = match m.image.resample {
        Resample::Bicubic => "bicubic",
        Resample::Bilinear => "bilinear",
        Resample::Lanczos => "lanczos",
    };
    format!("{0}×{0}, {shape}, {filter}", m.image.size)
}

fn mapper(m: &Manifest) -> String {
    let input = match m.mapper.input {
        MapperInput::Embedding if m.mapper.normalize_prefix => "normalised embedding",
        MapperInput::Embedding => "embedding",
        MapperInput::Grid => "grid",
    };
    format!("{input} → {} prefix vectors", m.mapper.prefix_length)
}

fn decoder(m: &Manifest) -> String {
    let d = &m.decoder;
    format!("{} layers, {} heads, width {}, vocabulary {}, context {}", d.layers, d.heads, d.width, d.vocab, d.context)
}

fn decoding(m: &Manifest) -> String {
    let d = &m.decoding;
    format!("beam {}, at most {} tokens, temperature {}, stop {:?}", d.beam, d.max_tokens, d.temperature, d.stop_tokens)
}
