//! The graphs that read text: where they are, and loading them.
//!
//! They are PP-OCRv6's, in a folder with `detector.onnx` and `recognizer.onnx`: the one that `DESCRY_TEXT_MODEL` names, or else
//! `vendor/text-model` beside or above the program. A folder that is named must work.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::detector::LineDetector;
use super::recognizer::LineRecognizer;
use super::{OcrOptions, TextReader};
use crate::digest::sha256_of;
use crate::error::{Error, Result};
use crate::limited_file::read_bytes;
use crate::model::SessionOptions;

/// The environment variable that names the folder.
const ENV_FOLDER: &str = "DESCRY_TEXT_MODEL";
/// Where the folder is beside or above the program.
const FOLDER: &str = "vendor/text-model";
/// Most bytes of a graph.
const MOST_BYTES: u64 = 256 << 20;
const REMEDY: &str = "Run `make setup`, or name the folder with DESCRY_TEXT_MODEL=/path/to/text-model.";

/// The graphs that read text, in memory. A clone refers to the same.
#[derive(Debug, Clone)]
pub struct TextModel {
    name: Arc<str>,
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
        let read = |name: &str| {
            read_bytes(&folder.join(name), MOST_BYTES)
                .map_err(|e| Error::model(folder.display().to_string(), format!("{name} cannot be read: {e}"), REMEDY))
        };
        let (detector, recognizer) = (read("detector.onnx")?, read("recognizer.onnx")?);
        // Reading from memory does not fail.
        let hash = sha256_of(detector.as_slice().chain(recognizer.as_slice())).unwrap_or_default();
        let name = format!("text model {}", hash.get(..12).unwrap_or_default());
        Ok(TextModel { name: name.into(), detector: detector.into(), recognizer: recognizer.into() })
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

/// Where the graphs are.
fn folder() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os(ENV_FOLDER).filter(|folder| !folder.is_empty()) {
        return Ok(PathBuf::from(folder));
    }
    let exe = std::env::current_exe().ok();
    let above = exe.iter().flat_map(|exe| exe.ancestors().skip(1)).map(|above| above.join(FOLDER));
    above.into_iter().find(|folder| folder.is_dir()).ok_or_else(|| {
        let cause = format!("{ENV_FOLDER} names no folder, and there is none beside or above the program");
        Error::model(FOLDER, cause, REMEDY)
    })
}
