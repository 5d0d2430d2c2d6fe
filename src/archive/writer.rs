//! Storing one video: its thumbnails and keyframes as they come, its descriptions at the end, then its record.
//!
//! Order: all files of a video are complete, and on the disk, before its record is written; older states of the video are
//! removed after that. A process that is killed leaves files without a record. They are swept when the video is described
//! again. Describing a video twice is harmless: all bytes depend on the video, the model and the options alone.
//!
//! Memory: one row group of the table, and one hash per thumbnail.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::catalog::Archive;
use super::io_error::write_error;
use super::layout::{
    FAILURES, JSON, PART, RECORDS, TABLE, VIDEOS, VTT, record_file, record_folder, thumbnail, video_file, video_folder,
};
use super::record::{FORMAT, FailureRecord, FileRecord, RecordName, VideoRecord, Work};
use super::store::{PendingObjects, Upload};
use super::table::{GROUP_ROWS, KeyframeRow, MOST_LINE_BYTES, MOST_LINES, TableWriter, TextRow};
use crate::error::Result;
use crate::ocr::ScreenText;
use crate::pipeline::KeyframeRecord;
use crate::time::Time;
use crate::track::{Format, Track, write};

/// Stores one video while it is described. Dropped before [`VideoWriter::finish`], it leaves files without a record, which
/// the next attempt sweeps.
pub struct VideoWriter<'a> {
    archive: &'a Archive,
    work: Work,
    table: TableWriter<Upload>,
    files: BTreeMap<String, FileRecord>,
    pending: PendingObjects,
    keyframes: u64,
    /// Shared by consecutive rows.
    transition: Arc<str>,
}

impl Archive {
    /// Starts to store a video, and sweeps what earlier attempts left of it. Claim the video first.
    ///
    /// # Errors
    /// The archive cannot be read or written, or the recipe's dimension is 0 or more than 2²⁰.
    pub fn begin(&self, work: &Work) -> Result<VideoWriter<'_>> {
        self.sweep(work.name)?;
        let path = video_file(work.name, TABLE);
        let shown = self.store().shown(&path);
        let table = TableWriter::new(self.store().upload(&path)?, shown, work.recipe.dimension, GROUP_ROWS)?;
        Ok(VideoWriter {
            archive: self,
            work: work.clone(),
            table,
            files: BTreeMap::new(),
            pending: PendingObjects::default(),
            keyframes: 0,
            transition: "".into(),
        })
    }

    /// Removes what killed processes left of a video: partial files, and folders without a record.
    fn sweep(&self, name: RecordName) -> Result<()> {
        // Without claims another machine may be writing the very same files.
        if self.folder().is_none() {
            return Ok(());
        }
        self.sweep_parts(name)?;
        let prefix = format!("{:016x}.", name.key);
        let shelf = format!("{VIDEOS}/{}", name.shelf());
        for folder in self.store().list(&shelf, &prefix)? {
            let committed = folder.parse().is_ok_and(|n| n != name && self.has_record(n).unwrap_or(true));
            if !committed {
                self.store().remove(&record_file(RECORDS, name))?;
                self.store().remove_folder(&format!("{shelf}/{folder}"))?;
            }
        }
        Ok(())
    }

    /// Removes records of a video that killed processes left half written.
    fn sweep_parts(&self, name: RecordName) -> Result<()> {
        if self.folder().is_none() {
            return Ok(());
        }
        let prefix = format!("{:016x}.", name.key);
        for kind in [RECORDS, FAILURES] {
            let shelf = record_folder(kind, name);
            for part in self.store().list(&shelf, &prefix)?.iter().filter(|n| n.ends_with(PART)) {
                self.store().remove(&format!("{shelf}/{part}"))?;
            }
        }
        Ok(())
    }

    /// Records why a video cannot be described; counts the attempts. Claim the video first.
    ///
    /// # Errors
    /// The archive cannot be read or written.
    pub fn record_failure(&self, work: &Work, cause: &str, remedy: &str) -> Result<FailureRecord> {
        // A video that cannot be opened is never begun.
        self.sweep_parts(work.name)?;
        let path = record_file(FAILURES, work.name);
        // A damaged record counts from the start.
        let before = self.read_failure(work.name).ok().flatten().map_or(0, |f| f.attempts);
        let failure = FailureRecord {
            format: FORMAT.into(),
            video: work.video.to_string(),
            source: work.source.clone(),
            state: work.name.state,
            attempts: before.saturating_add(1),
            cause: cause.into(),
            remedy: remedy.into(),
        };
        self.write_json(&path, &failure)?;
        self.remove_other_states(FAILURES, work.name)?;
        Ok(failure)
    }
}

impl VideoWriter<'_> {
    /// Stores a keyframe. Keyframes come in order of time.
    ///
    /// # Errors
    /// The archive cannot be written, or the embedding does not have the recipe's dimension.
    pub fn keyframe(&mut self, kept: KeyframeRecord) -> Result<()> {
        let KeyframeRecord { record, embedding, thumbnail: jpeg, text } = kept;
        self.keyframes += 1;
        let ms = record.keyframe.millis();
        let mut path = None;
        if let Some(jpeg) = jpeg {
            let within = thumbnail(ms);
            let place = video_file(self.work.name, &within);
            self.files.insert(within, self.archive.store().put_soon(&place, jpeg, &mut self.pending)?);
            path = Some(place);
        }
        let Some(embedding) = embedding else { return Ok(()) };
        if *self.transition != *record.transition {
            self.transition = record.transition.into();
        }
        self.table.push(KeyframeRow {
            video: self.work.video.clone(),
            start_ms: record.start.millis(),
            end_ms: record.end.millis(),
            keyframe_ms: ms,
            scene: i32::try_from(record.scene).unwrap_or(i32::MAX),
            transition: self.transition.clone(),
            caption: record.text,
            said: record.shown,
            score: record.score,
            mean_logprob: record.mean_logprob,
            repeats: record.repeats.is_some(),
            speech: record.speech,
            text: text.map(|lines| text_rows(&lines, record.end)),
            thumbnail: path,
            model: self.work.recipe.model.clone(),
            model_hash: self.work.recipe.model_hash.clone(),
            embedding,
        })
    }

    /// Removes what has been stored so far.
    ///
    /// # Errors
    /// The archive cannot be written.
    pub fn abandon(self) -> Result<()> {
        let VideoWriter { archive, work, table, .. } = self;
        drop(table);
        // Without claims the files may belong to another machine by now.
        if archive.folder().is_some() { archive.store().remove_folder(&video_folder(work.name)) } else { Ok(()) }
    }

    /// Stores the descriptions, commits the video, and removes its older states. The stored track names its input as the
    /// archive does.
    ///
    /// # Errors
    /// The archive cannot be read or written.
    pub fn finish(mut self, mut track: Track) -> Result<VideoRecord> {
        let (archive, name) = (self.archive, self.work.name);
        track.input = self.work.video.to_string();
        self.files.insert(TABLE.into(), self.table.finish()?.finish()?);
        for (within, format) in [(VTT, Format::Vtt), (JSON, Format::Json)] {
            let path = video_file(name, within);
            let mut upload = archive.store().upload(&path)?;
            // Neither format has links.
            write(&track, format, Path::new("/"), &mut upload)
                .map_err(|e| write_error(&archive.store().shown(&path), &e))?;
            self.files.insert(within.into(), upload.finish()?);
        }
        self.pending.finish()?;
        archive.store().sync_folder(&video_folder(name))?;
        let record = VideoRecord {
            format: FORMAT.into(),
            video: self.work.video.to_string(),
            source: self.work.source,
            state: name.state,
            model: self.work.recipe.model.to_string(),
            model_hash: self.work.recipe.model_hash.to_string(),
            options: self.work.recipe.options.clone(),
            duration_ms: track.info.and_then(|i| i.duration).map(|d| (d * 1e3).round() as i64),
            keyframes: self.keyframes,
            cues: track.cues.len() as u64,
            damage: track.damage,
            files: self.files,
        };
        let path = record_file(RECORDS, name);
        archive.write_json(&path, &record)?;
        archive.remove_other_states(RECORDS, name)?;
        for failure in archive.states(FAILURES, name.key)? {
            archive.remove_record(FAILURES, failure)?;
        }
        Ok(record)
    }
}

/// Lines as a table has them, those of a stretch with this end. Those for which there is no room are left out: the JSON has all.
fn text_rows(lines: &[ScreenText], end: Time) -> Vec<TextRow> {
    let mut left = MOST_LINE_BYTES;
    let mut fits = |line: &&ScreenText| {
        let bytes = line.text.len() + line.kind.name().len();
        let fits = bytes <= left;
        left -= if fits { bytes } else { 0 };
        fits
    };
    let row = |line: &ScreenText| TextRow {
        text: line.text.clone(),
        start_ms: line.start.millis(),
        end_ms: line.end.min(end).millis(),
        x: line.place.x,
        y: line.place.y,
        width: line.place.width,
        height: line.place.height,
        confidence: line.confidence,
        kind: line.kind.name().into(),
    };
    lines.iter().filter(|line| fits(line)).take(MOST_LINES).map(row).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::archive::record::Recipe;
    use crate::fingerprint::Fingerprint;
    use crate::ocr::{TextBox, TextKind};
    use crate::track::SceneRecord;

    fn scene(n: u32) -> SceneRecord {
        SceneRecord {
            scene: n + 1,
            start: Time::from_secs(f64::from(n)),
            end: Time::from_secs(f64::from(n) + 1.0),
            start_frame: 0,
            end_frame: 1,
            keyframe: Time::from_secs(f64::from(n) + 0.5),
            transition: "cut",
            text: Some("A dog.".into()),
            shown: true,
            score: Some(0.5),
            mean_logprob: Some(-1.0),
            similarity: None,
            repeats: None,
            blank: false,
            speech: None,
        }
    }

    fn track() -> Track {
        Track { options: json!({}), scenes: vec![scene(0), scene(1)], ..Track::new("film.mp4", "m 1") }
    }

    fn work(video: &str, size: u64) -> Work {
        let recipe = Recipe { model: "m 1".into(), model_hash: "ab".into(), dimension: 2, options: json!({}) };
        Work::new(video, Fingerprint { size: Some(size), ..Fingerprint::default() }, Arc::new(recipe))
    }

    fn store(archive: &Archive, work: &Work) -> VideoRecord {
        let mut writer = archive.begin(work).unwrap();
        for record in track().scenes {
            writer
                .keyframe(KeyframeRecord {
                    record,
                    embedding: Some(vec![0.6, 0.8]),
                    thumbnail: Some(vec![1, 2]),
                    text: None,
                })
                .unwrap();
        }
        writer.finish(track()).unwrap()
    }

    fn archive(dir: &tempfile::TempDir) -> Archive {
        Archive::create(dir.path().join("archive").to_str().unwrap()).unwrap()
    }

    #[test]
    fn a_committed_video_replaces_its_older_states() {
        let dir = tempfile::tempdir().unwrap();
        let archive = archive(&dir);
        let (old, new) = (work("/a.mp4", 1), work("/a.mp4", 2));
        archive.record_failure(&old, "broken", "mend it").unwrap();
        assert_eq!(archive.record_failure(&old, "broken", "mend it").unwrap().attempts, 2);
        assert_eq!(archive.failure_names().unwrap(), [old.name]);
        let record = store(&archive, &old);
        assert_eq!((record.keyframes, record.files.len()), (2, 5));
        assert_eq!(archive.read_record(old.name).unwrap(), Some(record));
        assert!(archive.failure_names().unwrap().is_empty());
        // What an unfinished attempt left is swept, in whatever state.
        drop(archive.begin(&work("/a.mp4", 3)).unwrap());
        store(&archive, &new);
        assert_eq!(archive.record_names().unwrap(), [new.name]);
        let folders = archive.store().list(&format!("videos/{}", new.name.shelf()), "").unwrap();
        assert_eq!(folders, [new.name.to_string()]);
        let rows: Vec<KeyframeRow> = archive.table(new.name).unwrap().unwrap().flat_map(|b| b.unwrap()).collect();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[1].thumbnail.as_deref(), Some(&*archive.video_path(new.name, "thumbnails/000001500.jpg")));
        assert!(archive.forget(new.name.key).unwrap() && !archive.forget(new.name.key).unwrap());
        assert!(archive.table(new.name).unwrap().is_none());
    }

    #[test]
    fn the_same_video_gives_the_same_bytes() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let written = dirs.each_ref().map(|dir| {
            let archive = archive(dir);
            let work = work("/a.mp4", 1);
            let record = store(&archive, &work);
            let table = archive.store().read(&archive.video_path(work.name, TABLE), 1 << 20).unwrap().unwrap();
            (record, table, archive.store().read(&record_file(RECORDS, work.name), 1 << 20).unwrap().unwrap())
        });
        assert_eq!(written[0], written[1]);
    }

    #[test]
    fn a_page_full_of_text_is_bounded() {
        let place = TextBox { x: 0.25, y: 0.5, width: 0.5, height: 0.1 };
        let at = Time::from_millis;
        let line = |text: String| {
            let (start, end, kind) = (at(500), at(90_000), TextKind::Scene);
            ScreenText { text, start, end, place, confidence: 0.9, kind }
        };
        let page: Vec<ScreenText> = (0..10_000).map(|n| line(format!("word {n}"))).collect();
        let rows = text_rows(&page, at(2_000));
        assert_eq!((rows.len(), rows[199].text.as_str()), (MOST_LINES, "word 199"));
        assert_eq!((rows[0].start_ms, rows[0].end_ms, rows[0].x, &*rows[0].kind), (500, 2_000, 0.25, "scene"));
        let long = [line("a".repeat(10_000)), line("b".repeat(10_000)), line("c".into())];
        let kept: Vec<usize> = text_rows(&long, at(2_000)).iter().map(|row| row.text.len()).collect();
        assert_eq!(kept, [10_000, 1]);
    }
}
