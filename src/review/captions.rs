//! What editors wrote or checked, with its pictures, in the form that training reads: `captions.jsonl`, with one picture a
//! line, and a folder `images`.
//!
//! Order: that of the films, and of time in each. `captions.jsonl` is written last and whole: a folder without it is
//! unfinished. The same reviews and films give the same bytes. Memory: the captions of one film, and one picture.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::cue::ReviewCue;
use super::film::ReviewFilm;
use super::outline::ReviewOutline;
use crate::atomic_file::AtomicFile;
use crate::digest::hex;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::ThumbnailOptions;
use crate::message::Setting;
use crate::time::Time;

/// The pictures: larger than those that towers read, and hardly compressed.
const PICTURE: ThumbnailOptions = ThumbnailOptions { width: 640, quality: 92 };
/// Of each film, a picture of so many is held out to judge what was learned.
const HELD_OUT: usize = 10;
/// Most characters of a film's name in the names of its pictures.
const LONGEST_STEM: usize = 60;
/// The file of the captions.
const CAPTIONS: &str = "captions.jsonl";
/// The folder of the pictures.
const IMAGES: &str = "images";

/// One line of the file.
#[derive(Serialize)]
struct CaptionLine<'a> {
    image: &'a str,
    captions: &'a [String],
    split: &'static str,
}

/// A folder of captions and pictures that is being written.
#[derive(Debug)]
pub struct CaptionExport {
    folder: PathBuf,
    lines: AtomicFile,
    counts: CaptionCounts,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct CaptionCounts {
    /// Films with captions.
    pub films: usize,
    /// Pictures.
    pub pictures: usize,
    /// Captions; a picture may have several.
    pub captions: usize,
}

impl CaptionExport {
    /// Makes the folder.
    ///
    /// # Errors
    /// If it cannot be written, or has captions already.
    pub fn create(folder: &Path) -> Result<CaptionExport> {
        let file = folder.join(CAPTIONS);
        let shown = file.display().to_string();
        if fs::symlink_metadata(&file).is_ok() {
            return Err(Error::output(shown, "exists already", "Name another folder, or remove this file first."));
        }
        let fail = |e: io::Error| Error::write(&*shown, &e, Setting::ExportCaptions);
        fs::create_dir_all(folder.join(IMAGES)).map_err(fail)?;
        let lines = AtomicFile::create(&file, false).map_err(fail)?;
        Ok(CaptionExport { folder: folder.into(), lines, counts: CaptionCounts::default() })
    }

    /// Adds what editors wrote or checked of a film.
    ///
    /// # Errors
    /// If a picture cannot be read or written, or it was interrupted.
    pub fn add(&mut self, film: &ReviewFilm, review: &ReviewOutline, interrupt: &Interrupt) -> Result<()> {
        let captions = captions_of(review);
        let count = captions.len();
        // The last ones, so that no scene is in both splits.
        let learned = count - (count + HELD_OUT / 2) / HELD_OUT;
        let prefix = image_prefix(&film.shown());
        self.counts.films += usize::from(count > 0);
        for (number, (ms, texts)) in captions.iter().enumerate() {
            if interrupt.is_set() {
                return Err(Error::Interrupted);
            }
            let jpeg = film.picture(Time::from_millis(*ms), PICTURE, interrupt.clone())?;
            let Some(jpeg) = jpeg else { continue };
            let name = format!("{prefix}-{ms:09}.jpg");
            let path = self.folder.join(IMAGES).join(&name);
            fs::write(&path, jpeg).map_err(|e| self.fail(&path, &e))?;
            let split = if number < learned { "train" } else { "val" };
            let line = CaptionLine { image: &name, captions: texts, split };
            let line = serde_json::to_string(&line).map_err(|e| self.fail(&path, &e.into()))?;
            writeln!(self.lines, "{line}").map_err(|e| self.fail(&self.folder.join(CAPTIONS), &e))?;
            self.counts.pictures += 1;
            self.counts.captions += texts.len();
        }
        Ok(())
    }

    /// Gives the captions their name. `of`: the reviews, for messages.
    ///
    /// # Errors
    /// If there are none, they cannot be written, or somebody else has written some meanwhile.
    pub fn finish(self, of: &str) -> Result<CaptionCounts> {
        if self.counts.captions == 0 {
            let remedy = "Correct or check cues in the browser first.";
            return Err(Error::input(of, "has no cue that an editor wrote or checked", remedy));
        }
        let file = self.folder.join(CAPTIONS);
        let shown = file.display().to_string();
        self.lines.commit().map_err(|e| Error::write(shown, &e.into(), Setting::ExportCaptions))?;
        Ok(self.counts)
    }

    fn fail(&self, path: &Path, e: &io::Error) -> Error {
        Error::write(path.display().to_string(), e, Setting::ExportCaptions)
    }
}

/// What editors wrote or checked, by the times of the frames that it describes, in milliseconds.
fn captions_of(review: &ReviewOutline) -> BTreeMap<i64, Vec<String>> {
    let mut captions: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for cue in review.cues.iter().filter(|cue| cue.is_vouched_for() && !cue.text.is_empty()) {
        let text = cue.text.replace('\n', " ");
        let of_frame = captions.entry(frame_of(review, cue).millis().max(0)).or_default();
        if !of_frame.contains(&text) {
            of_frame.push(text);
        }
    }
    captions
}

/// The frame that a cue describes: the one that the machine described; for a cue of an editor's, or one that was moved away
/// from it, the middle one.
fn frame_of(review: &ReviewOutline, cue: &ReviewCue) -> Time {
    let middle = Time::from_micros((cue.start.micros() + cue.end.micros()) / 2);
    let Some(machine) = &cue.machine else { return middle };
    let scene = machine.scene.and_then(|scene| review.timeline.scenes.as_ref()?.get(scene));
    let is_there = |frame: Time| (cue.start..cue.end).contains(&frame);
    let was_moved = (machine.start, machine.end) != (cue.start, cue.end);
    scene.map(|scene| scene.keyframe).filter(|frame| !was_moved || is_there(*frame)).unwrap_or(middle)
}

/// What the names of a film's pictures begin with: its own name, as far as every file system can hold it, and letters that
/// tell it from others of that name.
fn image_prefix(shown: &str) -> String {
    let name = shown.rsplit(['/', '\\']).next().unwrap_or_default();
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
    let stem: String = stem.chars().take(LONGEST_STEM).map(plain).collect();
    format!("{stem}-{}", &hex(&Sha256::digest(shown))[..8])
}

#[cfg(test)]
mod tests {
    use super::super::tests::{cue, document, ms, scene};
    use super::*;

    #[test]
    fn only_what_editors_wrote_or_checked_is_taken_with_its_frame() {
        let mut film = document(vec![
            cue(1, 0, 4_000, "A dog runs."),
            cue(2, 4_000, 8_000, "A cat sits."),
            cue(3, 8_000, 12_000, "A cow."),
            cue(4, 12_000, 14_000, "A man."),
            cue(5, 14_000, 16_000, "A tree."),
        ]);
        let scenes = (0..5).map(|n| scene(n * 4_000, (n + 1) * 4_000, None)).collect();
        film.timeline.scenes = Some(scenes);
        film.cues[0].text = "A wolf\nruns.".into();
        film.cues[1].checked = true;
        // Moved away from the frame that the machine described.
        (film.cues[3].start, film.cues[3].checked) = (ms(13_000), true);
        film.cues[4].text = String::new();
        film.cues.push(ReviewCue { machine: None, text: "A bird.".into(), ..cue(6, 3_000, 5_000, "") });
        let outline = ReviewOutline::parse(&serde_json::to_vec(&film).unwrap());
        assert!(outline.is_err(), "the number of the new one is not below next_id");
        film.next_id = 7;
        let outline = ReviewOutline::parse(&serde_json::to_vec(&film).unwrap()).unwrap();
        let found: Vec<(i64, Vec<String>)> = captions_of(&outline).into_iter().collect();
        let one = |ms: i64, text: &str| (ms, vec![text.to_string()]);
        let both = (4_000, vec!["A cat sits.".to_string(), "A bird.".to_string()]);
        assert_eq!(found, [one(0, "A wolf runs."), both, one(13_500, "A man.")]);
    }

    #[test]
    fn films_of_one_name_have_pictures_of_their_own() {
        let (one, two) = (image_prefix("/a/Der Fährmann.mp4"), image_prefix("/b/Der Fährmann.mp4"));
        assert!(one.starts_with("Der_F_hrmann-") && one != two, "{one} {two}");
        assert_eq!(image_prefix("film").len(), "film-".len() + 8);
    }
}
