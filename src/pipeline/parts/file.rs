//! A part's file, `descry-part/1`: the keyframes of a stretch, and the marks of its decoding.
//!
//! ```text
//! descry-part/1\n
//! blobs               embeddings and grids as little-endian float32, thumbnails as JPEG, in the order of keyframes
//! footer              JSON: the film, the marks, the keyframes with the ranges of their blobs
//! 8 bytes             length of the footer, little-endian
//! 32 bytes            SHA-256 of all before
//! ```
//!
//! It is written to a temporary file and renamed into place. A file that is truncated or changed is refused when it is
//! opened. Nothing in it depends on the time or the machine, so the same part is the same bytes wherever it was made.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::mark::StretchReport;
use crate::atomic_file::{AtomicFile, create_folder_of};
use crate::error::{Error, Result};
use crate::message;
use crate::message::{Message, Setting};
use crate::model::{Caption, CaptionInput, Encoded};
use crate::pipeline::message::{EncodedKeyframe, KeyframeInfo};
use crate::regular_file;
use crate::scene::Transition;
use crate::time::Time;

const MAGIC: &[u8] = b"descry-part/1\n";
/// Bytes after the footer: its length and the hash.
const TAIL: u64 = 8 + 32;
/// A day's marks and keyframes are a few megabytes.
const FOOTER_LIMIT: u64 = 1 << 30;

/// Where a blob is: its first byte, and how many floats or, for a picture, bytes it has.
type BlobRange = (u64, u64);

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Footer {
    /// Number of the part, and of how many.
    part: (u32, u32),
    film: Value,
    #[serde(rename = "watching")]
    report: StretchReport,
    keyframes: Vec<PartRow>,
}

/// A keyframe; times in microseconds, floats as their bits.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartRow {
    scene: u32,
    start: i64,
    end: i64,
    time: i64,
    index: u64,
    start_frame: u64,
    end_frame: u64,
    transition: String,
    blank: bool,
    quality: u32,
    embedding: Option<BlobRange>,
    grid: Option<BlobRange>,
    thumbnail: Option<BlobRange>,
    caption: Option<StoredCaption>,
    fault: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredCaption {
    text: String,
    ids: Vec<i64>,
    mean_logprob: u32,
    score: Option<u32>,
}

/// What to do about a file that cannot be used.
fn remedy() -> Message {
    message!["Make this part again with ", Setting::Part, "."]
}

/// Writes a part's file as its keyframes come. A file that is not finished leaves nothing behind.
pub struct PartWriter {
    to: AtomicFile,
    name: String,
    hash: Sha256,
    written: u64,
    rows: Vec<PartRow>,
}

impl PartWriter {
    /// Begins a file that gets the name `path` when it is whole.
    ///
    /// # Errors
    /// When the file exists and must not be replaced, or cannot be created.
    pub fn create(path: &Path, overwrite: bool) -> Result<PartWriter> {
        if !overwrite && fs::symlink_metadata(path).is_ok() {
            return Err(Error::output(
                path.display().to_string(),
                "exists already",
                message!["Give another name with ", Setting::Output, ", or replace it with ", Setting::Overwrite, "."],
            ));
        }
        let name = path.display().to_string();
        let to = create_folder_of(path).and_then(|()| AtomicFile::create(path, overwrite));
        let to = to.map_err(|e| Error::write(&name, &e, Setting::Output))?;
        let mut writer = PartWriter { to, name, hash: Sha256::new(), written: 0, rows: Vec::new() };
        writer.write(MAGIC)?;
        Ok(writer)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.to.write_all(bytes).map_err(|e| Error::write(&self.name, &e, Setting::Output))?;
        self.hash.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn floats(&mut self, values: &[f32]) -> Result<BlobRange> {
        let range = (self.written, values.len() as u64);
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.write(&bytes)?;
        Ok(range)
    }

    /// Adds the next keyframe.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn push(&mut self, keyframe: &EncodedKeyframe) -> Result<()> {
        let EncodedKeyframe { info, input, caption, fault, thumbnail } = keyframe;
        let encoded = input.as_ref().map(|input| &input.encoded);
        let embedding = encoded.map(|e| self.floats(&e.embedding)).transpose()?;
        // The grid is only needed for captioning.
        let grid = encoded.and_then(|e| e.grid.as_ref()).filter(|_| caption.is_none());
        let grid = grid.map(|grid| self.floats(grid)).transpose()?;
        let thumbnail = thumbnail.as_ref().map(|jpeg| {
            let range = (self.written, jpeg.len() as u64);
            self.write(jpeg).map(|()| range)
        });
        let thumbnail = thumbnail.transpose()?;
        self.rows.push(PartRow {
            scene: info.scene,
            start: info.start.micros(),
            end: info.end.micros(),
            time: info.time.micros(),
            index: info.index,
            start_frame: info.start_frame,
            end_frame: info.end_frame,
            transition: info.transition.name().into(),
            blank: info.blank,
            quality: info.quality.to_bits(),
            embedding,
            grid,
            thumbnail,
            caption: caption.as_ref().map(|c| StoredCaption {
                text: c.text.clone(),
                ids: c.ids.clone(),
                mean_logprob: c.mean_logprob.to_bits(),
                score: c.score.map(f32::to_bits),
            }),
            fault: fault.clone(),
        });
        Ok(())
    }

    /// Ends the file and gives it its name.
    ///
    /// # Errors
    /// When the file cannot be written, or another has its name by now and must not be replaced.
    pub fn finish(mut self, film: Value, part: (u32, u32), report: StretchReport) -> Result<()> {
        let footer = Footer { part, film, report, keyframes: std::mem::take(&mut self.rows) };
        let footer = serde_json::to_vec(&footer).map_err(|e| Error::write(&self.name, &e.into(), Setting::Output))?;
        self.write(&footer)?;
        self.write(&(footer.len() as u64).to_le_bytes())?;
        let hash = std::mem::take(&mut self.hash).finalize();
        self.write(&hash)?;
        let name = self.name;
        self.to.commit().map(drop).map_err(|e| Error::write(name, &e.into(), Setting::Output))
    }
}

/// A part's file whose hash was checked.
#[derive(Debug)]
pub struct PartFile {
    name: String,
    from: BufReader<File>,
    footer: Footer,
    /// Where the blobs end.
    blobs: u64,
}

impl PartFile {
    /// Opens a file, reads all of it once to check its hash, and keeps its footer.
    ///
    /// # Errors
    /// When the file cannot be read, is truncated, or is not a part's file.
    pub fn open(path: &Path) -> Result<PartFile> {
        let name = path.display().to_string();
        let wrong = |cause: String| Error::input(&name, cause, remedy());
        let mut file = regular_file::open(path).map_err(|e| wrong(format!("cannot be opened: {e}")))?;
        let read = |e: io::Error| wrong(format!("cannot be read: {e}"));
        let length = file.metadata().map_err(read)?.len();
        let cut = || wrong("is not a complete part of a film: it is truncated, or another kind of file".into());
        let body = length.checked_sub(TAIL).filter(|n| *n >= MAGIC.len() as u64).ok_or_else(cut)?;
        let mut hash = Sha256::new();
        let mut block = vec![0; 1 << 16];
        let mut left = length - 32;
        let mut first = true;
        while left > 0 {
            let some = left.min(block.len() as u64) as usize;
            file.read_exact(&mut block[..some]).map_err(read)?;
            if std::mem::take(&mut first) && !block.starts_with(MAGIC) {
                return Err(cut());
            }
            hash.update(&block[..some]);
            left -= some as u64;
        }
        let mut stated = [0; 32];
        file.read_exact(&mut stated).map_err(read)?;
        if hash.finalize()[..] != stated {
            return Err(cut());
        }
        let mut size = [0; 8];
        file.seek(SeekFrom::Start(body)).and_then(|_| file.read_exact(&mut size)).map_err(read)?;
        let size = u64::from_le_bytes(size);
        let blobs = body.checked_sub(size).filter(|_| size <= FOOTER_LIMIT).ok_or_else(cut)?;
        let mut footer = vec![0; size as usize];
        file.seek(SeekFrom::Start(blobs)).and_then(|_| file.read_exact(&mut footer)).map_err(read)?;
        let footer: Footer =
            serde_json::from_slice(&footer).map_err(|e| wrong(format!("its footer cannot be read: {e}")))?;
        Ok(PartFile { name, from: BufReader::new(file), footer, blobs })
    }

    /// The file's path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of the part, and how many there are.
    pub fn part(&self) -> (u32, u32) {
        self.footer.part
    }

    /// The film, the model and the options, as they must agree between parts.
    pub fn film(&self) -> &Value {
        &self.footer.film
    }

    /// The marks, and how the decoding ended.
    pub fn report(&self) -> &StretchReport {
        &self.footer.report
    }

    /// Keyframes in it.
    pub fn len(&self) -> usize {
        self.footer.keyframes.len()
    }

    /// Whether it holds no keyframe.
    pub fn is_empty(&self) -> bool {
        self.footer.keyframes.is_empty()
    }

    /// Start of the latest scene that began before keyframe `before`, `back` scenes earlier.
    pub(super) fn scene_start(&self, before: usize, back: usize) -> Option<Time> {
        let gap = Transition::Gap.name();
        let rows = self.footer.keyframes.get(..before)?;
        rows.iter().rev().filter(|r| r.transition != gap).nth(back).map(|r| Time::from_micros(r.start))
    }

    fn blob(&mut self, at: u64, bytes: Option<u64>) -> Result<Vec<u8>> {
        let wrong = |cause: String| Error::input(&self.name, cause, remedy());
        let bytes = bytes.filter(|n| at.checked_add(*n).is_some_and(|end| end <= self.blobs));
        let Some(bytes) = bytes else { return Err(wrong("refers to data that it does not hold".into())) };
        let mut data = vec![0; bytes as usize];
        let read = self.from.seek(SeekFrom::Start(at)).and_then(|_| self.from.read_exact(&mut data));
        read.map_err(|e| wrong(format!("cannot be read: {e}")))?;
        Ok(data)
    }

    fn read_floats(&mut self, (at, count): BlobRange) -> Result<Vec<f32>> {
        let data = self.blob(at, count.checked_mul(4))?;
        Ok(data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }

    /// Reads keyframe `n`.
    ///
    /// # Errors
    /// When there is no such keyframe, or the file cannot be read.
    pub fn keyframe(&mut self, n: usize) -> Result<EncodedKeyframe> {
        let missing = || Error::input(&self.name, "lacks a keyframe", remedy());
        let row = self.footer.keyframes.get(n).cloned().ok_or_else(missing)?;
        let transition = Transition::ALL.into_iter().find(|t| t.name() == row.transition).ok_or_else(missing)?;
        let embedding = row.embedding.map(|range| self.read_floats(range)).transpose()?;
        let grid = row.grid.map(|range| self.read_floats(range)).transpose()?;
        let thumbnail = row.thumbnail.map(|(at, bytes)| self.blob(at, Some(bytes))).transpose()?;
        Ok(EncodedKeyframe {
            info: KeyframeInfo {
                scene: row.scene,
                start: Time::from_micros(row.start),
                end: Time::from_micros(row.end),
                time: Time::from_micros(row.time),
                index: row.index,
                start_frame: row.start_frame,
                end_frame: row.end_frame,
                transition,
                blank: row.blank,
                quality: f32::from_bits(row.quality),
                picture: (),
                spread: Vec::new(),
            },
            input: embedding.map(|embedding| CaptionInput {
                encoded: Encoded { embedding, grid },
                pictures: Vec::new(),
                prompt: None,
            }),
            caption: row.caption.map(|c| Caption {
                text: c.text,
                ids: c.ids,
                mean_logprob: f32::from_bits(c.mean_logprob),
                score: c.score.map(f32::from_bits),
                support: None,
            }),
            fault: row.fault,
            thumbnail,
        })
    }
}
