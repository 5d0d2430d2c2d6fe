//! What the fuzz targets in `fuzz/` need of the crate's inside. Not a public interface.
//!
//! Compiled only with the hidden feature `fuzzing`, which no build of the program has. Everything that the library offers to
//! all goes into the targets from there; here is one thin function for each entry that is the crate's own. The targets in
//! `fuzz/src/targets` state what must hold.

use std::io::{self, Read, Write};
use std::path::Path;

use crate::address;
use crate::archive::{self, KeyframeRow, TableReader};
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::isolate;
use crate::media::{Dialogue, Rgb};
use crate::model::{self, HubFolder, Manifest};
use crate::pull;

/// Parses and validates the text of `model.json`.
///
/// # Errors
/// The cause, for people.
pub fn manifest(text: &[u8]) -> Result<Manifest, String> {
    model::parse_manifest(text).map_err(|fault| fault.cause)
}

/// Changes a decoder's graph as it is changed before ONNX Runtime reads it; `None` where there is nothing to change.
pub fn rewritten_graph(bytes: &[u8]) -> Option<Vec<u8>> {
    model::hub::rewritten_graph(bytes)
}

/// Reads a graph and writes it again; `None` if it is none.
pub fn copied_graph(bytes: &[u8]) -> Option<Vec<u8>> {
    model::OnnxModel::read(bytes).map(|graph| graph.write("graph.onnx"))
}

/// The tokens of a prompt with one picture, and of that picture the samples that the image tower reads.
///
/// # Errors
/// A file of the folder is wrong.
pub fn hub_input(folder: &HubFolder, prompt: &str, picture: &Rgb) -> Result<(Vec<i64>, Vec<f32>)> {
    let mut samples = Vec::new();
    let processor = model::hub::Processor::new(folder, true)?;
    processor.append(picture, &mut samples)?;
    let chat = model::hub::Chat::new(folder)?;
    let prompt = chat.prompt(prompt, &[processor.grid(picture)])?;
    chat.text(&prompt.ids)?;
    Ok((prompt.ids, samples))
}

/// The tokens of a text for a tower that reads `length` tokens, by the text of its `tokenizer.json`.
///
/// # Errors
/// The cause, for people.
pub fn text_tokens(tokenizer: &[u8], text: &str, length: usize) -> Result<Vec<i64>, String> {
    model::tokens_of(tokenizer, text, length)
}

/// The first sentence of the description in what a chat model writes; empty if there is none.
pub fn sentence(answer: &str) -> String {
    model::server::sentence_of(answer)
}

/// The text in a server's answer; empty if the model refuses.
///
/// # Errors
/// The cause, for people.
pub fn answer_text(status: u16, body: &[u8]) -> Result<String, String> {
    model::server::text_of((status, "200 OK"), None, body).map_err(|fault| fault.cause)
}

/// Shape of a tensor, and its values or why they cannot be had.
pub type ReadTensor = (Vec<usize>, Result<Vec<f32>>);

/// Every tensor of a checkpoint.
///
/// # Errors
/// It is no checkpoint of tensors alone.
pub fn checkpoint_tensors(path: &Path) -> Result<Vec<ReadTensor>> {
    let checkpoint = Checkpoint::open(path)?;
    let tensor = |name: &str| {
        let shape = checkpoint.get(name).map_or(Vec::new(), |tensor| tensor.shape().to_vec());
        let values = checkpoint.values(name, &shape);
        (shape, values)
    };
    Ok(checkpoint.names().map(tensor).collect())
}

/// A sound archive around a pickle, with two storages of 64 bytes; that of a TorchScript module with `script`.
///
/// # Errors
/// It cannot be written.
pub fn archive_of_pickle(pickle: &[u8], script: bool) -> io::Result<Vec<u8>> {
    let mut writer = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let constants = script.then_some(("a/constants.pkl", &b")."[..]));
    let entries = [("a/data.pkl", pickle), ("a/data/0", &[1; 64]), ("a/data/1", &[2; 64])];
    for (name, bytes) in entries.into_iter().chain(constants) {
        writer.start_file(name, stored)?;
        writer.write_all(bytes)?;
    }
    Ok(writer.finish()?.into_inner())
}

/// The pickle of an archive.
///
/// # Errors
/// There is none.
pub fn pickle_of_archive(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut archive = zip::ZipArchive::new(io::Cursor::new(bytes))?;
    let names = archive.file_names_raw().map(|name| String::from_utf8_lossy(name).into_owned());
    let name = names.filter(|name| name.ends_with("data.pkl")).last();
    let mut pickle = Vec::new();
    archive.by_name(&name.unwrap_or_default())?.read_to_end(&mut pickle)?;
    Ok(pickle)
}

/// The files that would be fetched of a model, by what the hub lists.
///
/// # Errors
/// The cause, for people.
pub fn chosen_files(listing: &[u8]) -> Result<Vec<String>, String> {
    pull::chosen_files(listing)
}

/// Reads a file of subtitles in memory.
///
/// # Errors
/// It is none, or in another encoding.
pub fn dialogue(bytes: &[u8]) -> Result<Dialogue> {
    Dialogue::of_bytes("film.srt", bytes)
}

/// Reads a table of keyframes in memory.
///
/// # Errors
/// It is damaged, or no table of keyframes.
pub fn open_table(bytes: Vec<u8>) -> Result<TableReader> {
    TableReader::of_bytes("table.parquet", bytes)
}

/// Writes rows as a table of keyframes.
///
/// # Errors
/// A row has another dimension, or Parquet refuses a value.
pub fn table_of(rows: Vec<KeyframeRow>, dimension: usize) -> Result<Vec<u8>> {
    let mut writer = archive::TableWriter::new(Vec::new(), "table.parquet", dimension, 1_024)?;
    rows.into_iter().try_for_each(|row| writer.push(row))?;
    writer.finish()
}

pub use crate::isolate::ReceivedReplies;

/// What is believed of the replies of a decoder's process, up to the first that is not.
pub fn received_replies(bytes: &[u8]) -> ReceivedReplies {
    isolate::received(bytes)
}

/// Replies of each kind, by name.
///
/// # Errors
/// One cannot be written.
pub fn reply_seeds() -> std::io::Result<Vec<(String, Vec<u8>)>> {
    isolate::reply_seeds()
}

/// Forgets every secret that this process has read, so that one input does not hide what the next one shows.
pub fn forget_secrets() {
    address::forget();
}
