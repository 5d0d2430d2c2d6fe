//! The graphs that read text: where they are, and loading them.
//!
//! They are PP-OCRv6's, in a folder with `detector.onnx` and `recognizer.onnx`: the one that `DESCRY_TEXT_MODEL` names, or else
//! the first that belongs to this program ([`program_files`](crate::program_files)). A folder that is named must work. In a
//! package of rapidocr, the files have names of their own.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::detector::LineDetector;
use super::recognizer::LineRecognizer;
use super::{OcrOptions, TextReader};
use crate::digest::sha256_of;
use crate::error::{Error, Result};
use crate::limited_file::read_bytes;
use crate::message;
use crate::message::{Message, Setting};
use crate::model::SessionOptions;
use crate::printable::printable;
use crate::program_files::ProgramFiles;

/// The environment variable that names the folder.
const ENV_FOLDER: &str = "DESCRY_TEXT_MODEL";
/// Most bytes of a graph.
const MOST_BYTES: u64 = 256 << 20;
/// The published graphs: their files with their SHA-256.
const PUBLISHED: [(&str, &str); 2] = [
    ("detector.onnx", "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f"),
    ("recognizer.onnx", "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884"),
];
/// The version of rapidocr's package that has them.
#[cfg(feature = "cli")]
pub(crate) const TESTED_PACKAGE: &str = "3.10.0";
/// The names of the same files in that package.
const IN_PACKAGE: [&str; 2] = ["PP-OCRv6_det_small.onnx", "PP-OCRv6_rec_small.onnx"];

/// The graphs that read text, in memory. A clone refers to the same.
#[derive(Debug, Clone)]
pub struct TextModel {
    name: Arc<str>,
    dir: Arc<Path>,
    detector: Arc<[u8]>,
    recognizer: Arc<[u8]>,
}

impl TextModel {
    /// Reads the graphs.
    ///
    /// # Errors
    /// [`Error::Model`] if there is no folder, or it lacks a graph.
    pub fn load() -> Result<TextModel> {
        TextModel::of_folder(&folder()?)
    }

    /// Reads the graphs of a folder.
    ///
    /// # Errors
    /// [`Error::Model`] if a graph is missing.
    pub fn of_folder(folder: &Path) -> Result<TextModel> {
        let is_package = is_package(folder);
        let read = |graph: usize| {
            let name = if is_package { IN_PACKAGE[graph] } else { PUBLISHED[graph].0 };
            read_bytes(&folder.join(name), MOST_BYTES).map_err(|e| {
                Error::model(folder.display().to_string(), format!("{name} cannot be read: {e}"), remedy())
            })
        };
        let (detector, recognizer) = (read(0)?, read(1)?);
        // Reading from memory does not fail.
        let hash = sha256_of(detector.as_slice().chain(recognizer.as_slice())).unwrap_or_default();
        let name = format!("text model {}", hash.get(..12).unwrap_or_default());
        Ok(TextModel {
            name: name.into(),
            dir: folder.into(),
            detector: detector.into(),
            recognizer: recognizer.into(),
        })
    }

    /// The graphs, as [`TextModel::load`] finds them; none if no folder is named and this program has none.
    ///
    /// # Errors
    /// [`Error::Model`] if the folder lacks a graph.
    pub fn find() -> Result<Option<TextModel>> {
        found().map(|folder| TextModel::of_folder(&folder)).transpose()
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its name, with a hash of its graphs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Loads the graphs into ONNX Runtime.
    ///
    /// # Errors
    /// If ONNX Runtime is not found or cannot run them.
    pub fn reader(&self, session: &SessionOptions, options: OcrOptions) -> Result<TextReader> {
        let detector = LineDetector::load(&self.detector, session)?;
        let recognizer = LineRecognizer::load(&self.recognizer, session)?;
        Ok(TextReader::new(detector, recognizer, options))
    }
}

/// In several lines for people, as `descry model show` prints it.
impl fmt::Display for TextModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let graphs = [&self.detector, &self.recognizer];
        // Reading from memory does not fail.
        let hashes = graphs.map(|graph| sha256_of(graph.as_ref()).unwrap_or_default());
        let published = PUBLISHED.iter().zip(&hashes).all(|((_, known), hash)| known == hash);
        let (model, licence, checked) = match published {
            true => ("PP-OCRv6 small", "Apache-2.0", ", all as published"),
            false => ("not known", "not known: these are not the published graphs", ""),
        };
        let mut line = |key: &str, value: String| writeln!(f, "{key:<12} {}", printable(&value));
        line("model", model.into())?;
        line("folder", self.dir.display().to_string())?;
        line("description", "finds the lines of text in pictures, and reads them (--text)".into())?;
        line("licence", licence.into())?;
        let total: usize = graphs.iter().map(|graph| graph.len()).sum();
        line("files", format!("{} in {:.1} MB{checked}:", graphs.len(), total as f64 / 1e6))?;
        for ((name, _), (graph, hash)) in PUBLISHED.iter().zip(graphs.iter().zip(&hashes)) {
            writeln!(f, "  {name:<24} {:>12}  {hash}", graph.len())?;
        }
        Ok(())
    }
}

/// Where the graphs are.
fn folder() -> Result<PathBuf> {
    found().ok_or_else(|| {
        let places = ProgramFiles::of_this_program().text_model_folders();
        let places: Vec<String> = places.iter().map(|folder| folder.display().to_string()).collect();
        let cause = format!("{ENV_FOLDER} names no folder, and there is none of {}", places.join(", "));
        Error::model("that reads text", cause, remedy())
    })
}

/// Whether a folder has the graphs under the names of rapidocr's package.
fn is_package(folder: &Path) -> bool {
    !folder.join(PUBLISHED[0].0).is_file() && folder.join(IN_PACKAGE[0]).is_file()
}

fn remedy() -> Message {
    message![
        "Run ",
        Setting::Doctor,
        format!(", which prints how to get it, or name its folder with {ENV_FOLDER}=/path/to/text-model.")
    ]
}

/// The folder that is named, or else the first that belongs to this program.
fn found() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os(ENV_FOLDER).filter(|folder| !folder.is_empty()) {
        return Some(PathBuf::from(folder));
    }
    ProgramFiles::of_this_program().text_model_folders().into_iter().find(|folder| folder.is_dir())
}
