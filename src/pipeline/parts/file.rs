//! A part's file, `descry-part/1`: what was seen, and where the watching stood.
//!
//! ```text
//! descry-part/1\n
//! blobs               embeddings and grids as little-endian float32, thumbnails as JPEG, as they came
//! footer              JSON: the film, the marks, the keyframes with the places of their blobs
//! 8 bytes             length of the footer, little-endian
//! 32 bytes            SHA-256 of all before
//! ```
//!
//! Written beside and renamed into place. One that is cut off or changed is refused when it is opened. Nothing in it tells
//! the time or the machine, so the same part is the same bytes wherever it was watched.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::atomic_file::{AtomicFile, create_folder_of};
use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;
use crate::model::caption::Caption;
use crate::model::image::Encoded;
use crate::pipeline::{Glimpse, Moment, Watching};
use crate::scene::Transition;
use crate::time::Time;

const MAGIC: &[u8] = b"descry-part/1\n";
const TAIL: u64 = 8 + 32;
/// A day's marks and keyframes are a few megabytes.
const FOOTER_LIMIT: u64 = 1 << 30;

/// In the blobs: first byte, and how many floats, or bytes of a picture.
type Place = (u64, u64);

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Footer {
    /// Number of the part, and of how many.
    part: (u32, u32),
    film: Value,
    watching: Watching,
    keyframes: Vec<Row>,
}

/// A keyframe; times in microseconds, floats as their bits.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
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
    embedding: Option<Place>,
    grid: Option<Place>,
    thumbnail: Option<Place>,
    caption: Option<Said>,
    fault: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    text: String,
    ids: Vec<i64>,
    mean_logprob: u32,
    score: Option<u32>,
}

/// Writes a part's file as its keyframes come. What was not finished is not left behind.
pub struct PartWriter {
    to: AtomicFile,
    name: String,
    hash: Sha256,
    written: u64,
    rows: Vec<Row>,
}

impl PartWriter {
    /// Begins a file that takes the name `path` when it is whole.
    pub fn create(path: &Path, force: bool) -> Result<PartWriter> {
        if !force && fs::symlink_metadata(path).is_ok() {
            return Err(Error::output(
                path.display().to_string(),
                "exists already",
                message!["Give another name with ", Setting::Output, ", or replace it with ", Setting::Overwrite, "."],
            ));
        }
        let name = path.display().to_string();
        let to = create_folder_of(path).and_then(|()| AtomicFile::create(path, force));
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

    fn floats(&mut self, values: &[f32]) -> Result<Place> {
        let place = (self.written, values.len() as u64);
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.write(&bytes)?;
        Ok(place)
    }

    /// Adds the next keyframe.
    pub fn push(&mut self, glimpse: &Glimpse) -> Result<()> {
        let Glimpse { moment, encoded, caption, fault, thumbnail } = glimpse;
        let embedding = encoded.as_ref().map(|e| self.floats(&e.embedding)).transpose()?;
        // Only who captions needs the grid.
        let grid = encoded.as_ref().and_then(|e| e.grid.as_ref()).filter(|_| caption.is_none());
        let grid = grid.map(|grid| self.floats(grid)).transpose()?;
        let thumbnail = thumbnail.as_ref().map(|jpeg| {
            let place = (self.written, jpeg.len() as u64);
            self.write(jpeg).map(|()| place)
        });
        let thumbnail = thumbnail.transpose()?;
        self.rows.push(Row {
            scene: moment.scene,
            start: moment.start.micros(),
            end: moment.end.micros(),
            time: moment.time.micros(),
            index: moment.index,
            start_frame: moment.start_frame,
            end_frame: moment.end_frame,
            transition: moment.transition.name().into(),
            blank: moment.blank,
            quality: moment.quality.to_bits(),
            embedding,
            grid,
            thumbnail,
            caption: caption.as_ref().map(|c| Said {
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
    pub fn finish(mut self, film: Value, part: (u32, u32), watching: Watching) -> Result<()> {
        let footer = Footer { part, film, watching, keyframes: std::mem::take(&mut self.rows) };
        let footer = serde_json::to_vec(&footer).map_err(|e| Error::write(&self.name, &e.into(), Setting::Output))?;
        self.write(&footer)?;
        self.write(&(footer.len() as u64).to_le_bytes())?;
        let hash = std::mem::take(&mut self.hash).finalize();
        self.write(&hash)?;
        let name = self.name;
        self.to.commit().map(drop).map_err(|e| Error::write(name, &e.into(), Setting::Output))
    }
}

/// A part's file that was found to be whole.
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
    pub fn open(path: &Path) -> Result<PartFile> {
        let name = path.display().to_string();
        let wrong = |cause: String| Error::input(&name, cause, "Watch this part again with descry part.");
        let mut file = File::open(path).map_err(|e| wrong(format!("cannot be opened: {e}")))?;
        let read = |e: io::Error| wrong(format!("cannot be read: {e}"));
        let length = file.metadata().map_err(read)?.len();
        let cut = || wrong("is no whole part of a film: it is cut off, or something else".into());
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
        let mut told = [0; 32];
        file.read_exact(&mut told).map_err(read)?;
        if hash.finalize()[..] != told {
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

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of the part, and of how many.
    pub fn part(&self) -> (u32, u32) {
        self.footer.part
    }

    /// What the film is and how it was watched.
    pub fn film(&self) -> &Value {
        &self.footer.film
    }

    pub fn watching(&self) -> &Watching {
        &self.footer.watching
    }

    /// Keyframes in it.
    pub fn len(&self) -> usize {
        self.footer.keyframes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.footer.keyframes.is_empty()
    }

    /// Start of the latest scene whose beginning was told before keyframe `before`, `back` scenes earlier.
    pub(super) fn scene_start(&self, before: usize, back: usize) -> Option<Time> {
        let gap = Transition::Gap.name();
        let rows = self.footer.keyframes.get(..before)?;
        rows.iter().rev().filter(|r| r.transition != gap).nth(back).map(|r| Time::from_micros(r.start))
    }

    fn blob(&mut self, at: u64, bytes: Option<u64>) -> Result<Vec<u8>> {
        let wrong = |cause: String| Error::input(&self.name, cause, "Watch this part again with descry part.");
        let bytes = bytes.filter(|n| at.checked_add(*n).is_some_and(|end| end <= self.blobs));
        let Some(bytes) = bytes else { return Err(wrong("names figures that it does not hold".into())) };
        let mut data = vec![0; bytes as usize];
        let read = self.from.seek(SeekFrom::Start(at)).and_then(|_| self.from.read_exact(&mut data));
        read.map_err(|e| wrong(format!("cannot be read: {e}")))?;
        Ok(data)
    }

    fn floats(&mut self, (at, count): Place) -> Result<Vec<f32>> {
        let data = self.blob(at, count.checked_mul(4))?;
        Ok(data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }

    /// Keyframe `n`, which must be one.
    pub fn glimpse(&mut self, n: usize) -> Result<Glimpse> {
        let missing = || Error::input(&self.name, "lacks a keyframe", "Watch this part again with descry part.");
        let row = self.footer.keyframes.get(n).cloned().ok_or_else(missing)?;
        let transition = Transition::ALL.into_iter().find(|t| t.name() == row.transition).ok_or_else(missing)?;
        let embedding = row.embedding.map(|place| self.floats(place)).transpose()?;
        let grid = row.grid.map(|place| self.floats(place)).transpose()?;
        let thumbnail = row.thumbnail.map(|(at, bytes)| self.blob(at, Some(bytes))).transpose()?;
        Ok(Glimpse {
            moment: Moment {
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
            },
            encoded: embedding.map(|embedding| Encoded { embedding, grid }),
            caption: row.caption.map(|c| Caption {
                text: c.text,
                ids: c.ids,
                mean_logprob: f32::from_bits(c.mean_logprob),
                score: c.score.map(f32::from_bits),
            }),
            fault: row.fault,
            thumbnail,
        })
    }
}
