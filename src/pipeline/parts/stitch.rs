//! From parts to the track of the whole film: seams, gaps, and what cannot be stitched.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde_json::Value;

use super::file::PartFile;
use super::{identity, length, watch_into};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::decode::Source;
use crate::pipeline::{Config, Glimpse, Keep, Mark, Model, Observer, Outcome, Stats, Watching, retell, run_keeping};
use crate::time::Time;

/// How a film was put together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stitched {
    /// Seams between parts that met in their overlap.
    pub seams: usize,
    /// Gaps that had to be watched, for neighbours did not meet.
    pub gaps: usize,
    /// Why the film was described whole instead.
    pub whole: Option<String>,
}

/// How long before a scene a gap's watching begins, so that what it was begun with is forgotten in the scene; tried in turn,
/// with how many scenes earlier.
const RUN_UPS: [(usize, Time); 2] = [(0, Time::from_millis(15_000)), (8, Time::from_millis(60_000))];

/// How much longer a gap is watched once it has met a part, to see that they agree in more than one mark; microseconds.
const LASTING: i64 = 3_000_000;

/// Keyframes of one watching: those from `first` on, up to `end`.
struct Segment {
    file: usize,
    first: usize,
    end: usize,
    /// What is added to ordinals of frames and of scenes, wrapping.
    frames: u64,
    scenes: u32,
}

/// Where the walk along the film stands: in a watching, from its mark `mark` on (none: from its first frame on).
struct Place {
    file: usize,
    mark: Option<usize>,
    frames: u64,
    scenes: u32,
}

/// The first mark that both have with one digest, if every later one that both have is the same, too.
fn seam(early: &Watching, from: Option<usize>, late: &Watching) -> Option<(usize, usize)> {
    let by_time: HashMap<i64, usize> = late.marks.iter().enumerate().map(|(n, m)| (m.time, n)).collect();
    let mut found = None;
    for (n, mark) in early.marks.iter().enumerate().skip(from.unwrap_or(0)) {
        let Some(&other) = by_time.get(&mark.time) else { continue };
        match (found, mark.digest == late.marks[other].digest) {
            (None, true) => found = Some((n, other)),
            (Some(_), false) => return None,
            _ => {}
        }
    }
    found
}

/// What keeps a watching from being part of a film, from one of its marks on. The losses before it are the seek's, or are
/// those of the part before.
fn flaw(watching: &Watching, from: Option<usize>) -> Option<String> {
    if let Some(reason) = &watching.timeless {
        return Some(reason.clone());
    }
    let before = from.and_then(|n| watching.marks.get(n)).map_or(0, |m| m.losses);
    (watching.losses > before).then(|| "something was lost in decoding".to_string())
}

/// Parts in order, all of one film and one way of watching, none missing.
fn checked(paths: &[&Path], film: &Value) -> Result<Vec<PartFile>> {
    let mut parts = paths.iter().map(|p| PartFile::open(p)).collect::<Result<Vec<_>>>()?;
    parts.sort_by_key(|p| p.part().0);
    let again = "Watch all parts with the same options, model and descry.";
    for part in &parts {
        for key in ["bytes", "descry", "model", "model_hash", "options", "thumbnails"] {
            if part.film()[key] != film[key] {
                let what = match key {
                    "bytes" => "is of a film of another size",
                    "descry" => "was made by another descry",
                    "options" | "thumbnails" => "was watched with other options",
                    _ => "was watched with another model",
                };
                return Err(Error::input(part.name(), what, again));
            }
        }
    }
    let of = parts.first().map_or(0, |p| p.part().1);
    for (n, part) in parts.iter().enumerate() {
        let (number, all) = part.part();
        if all != of || number as usize != n + 1 {
            let cause = format!("is part {number} of {all} where part {} of {of} is wanted", n + 1);
            return Err(Error::input(part.name(), cause, "Name every part once, and no others."));
        }
    }
    if parts.len() != of as usize {
        let cause = format!("of its {of} parts {} are here", parts.len());
        return Err(Error::usage(cause, "Name every part once."));
    }
    Ok(parts)
}

/// Puts the parts of a film together; `done` gets what one run over the whole film would give, byte for byte, and `keep`
/// its keyframes. `models` makes the model anew for each who needs it; `scratch` is a folder for gaps that must be watched.
#[allow(clippy::too_many_arguments)]
pub fn stitch(
    input: &str,
    paths: &[&Path],
    config: &Config,
    models: &dyn Fn() -> Result<Model>,
    scratch: &Path,
    interrupt: &Interrupt,
    observer: &dyn Observer,
    keep: Option<&dyn Keep>,
    done: &mut dyn FnMut(Outcome),
) -> Result<(Stitched, Stats)> {
    let film = identity(input, config, &models()?)?;
    let mut files = checked(paths, &film)?;
    let source = Source::open(input, &config.decode, interrupt.clone())?;
    length(&source, input)?;
    let info = source.info().clone();
    drop(source);
    let mut stitched = Stitched::default();
    let walked =
        Walk { input, config, models, scratch, interrupt, observer, film: &film }.along(&mut files, &mut stitched);
    let (segments, end) = match walked? {
        Ok(walked) => walked,
        Err(reason) => {
            let whole = Stitched { whole: Some(reason), ..Stitched::default() };
            let inputs = [input.to_string()];
            let stats = run_keeping(&inputs, config, models()?, interrupt, observer, keep, |_, outcome| done(outcome))?;
            return Ok((whole, stats));
        }
    };
    let mut outcome = None;
    let mut glimpses = glimpses(&mut files, &segments);
    let stats = retell(input, info, end, &mut glimpses, config, models()?, interrupt, observer, keep, |_, o| {
        outcome = Some(o)
    })?;
    if let Some(outcome) = outcome {
        done(outcome);
    }
    Ok((stitched, stats))
}

/// All keyframes of the film, counted as one run counts.
fn glimpses<'a>(
    files: &'a mut [PartFile],
    segments: &'a [Segment],
) -> impl Iterator<Item = Result<Glimpse>> + Send + use<'a> {
    let places = segments.iter().flat_map(|s| (s.first..s.end).map(move |n| (s, n)));
    places.map(move |(s, n)| {
        let mut glimpse = files[s.file].glimpse(n)?;
        let m = &mut glimpse.moment;
        m.scene = m.scene.wrapping_add(s.scenes);
        for index in [&mut m.index, &mut m.start_frame, &mut m.end_frame] {
            *index = index.wrapping_add(s.frames);
        }
        Ok(glimpse)
    })
}

struct Walk<'a> {
    input: &'a str,
    config: &'a Config,
    models: &'a dyn Fn() -> Result<Model>,
    scratch: &'a Path,
    interrupt: &'a Interrupt,
    observer: &'a dyn Observer,
    film: &'a Value,
}

impl Walk<'_> {
    /// From the first frame to the last: which keyframes of which watching, and the film's end; or why that cannot be.
    #[allow(clippy::type_complexity)]
    fn along(
        &self,
        files: &mut Vec<PartFile>,
        stitched: &mut Stitched,
    ) -> Result<std::result::Result<(Vec<Segment>, Time), String>> {
        let parts = files.len();
        let mut segments = Vec::new();
        let mut at = Place { file: 0, mark: None, frames: 0, scenes: 0 };
        // The next part that may be met.
        let mut next = 1;
        loop {
            if let Some(flaw) = flaw(files[at.file].watching(), at.mark) {
                return Ok(Err(flaw));
            }
            if let Some(cause) = &files[at.file].watching().empty {
                return Ok(Err(cause.clone()));
            }
            let first = at.mark.map_or(0, |n| files[at.file].watching().marks[n].told);
            // Nearest first: the further the parts, the less of the walk's own watching is needed.
            let met = (next..parts).find_map(|other| {
                seam(files[at.file].watching(), at.mark, files[other].watching()).map(|seam| (other, seam))
            });
            if let Some((other, (here, there))) = met {
                segments.push(self.segment(files, &at, first, Some(here)));
                at = cross(files, &at, here, other, there);
                next = other + 1;
                stitched.seams += 1;
                continue;
            }
            if let Some(end) = files[at.file].watching().finished {
                segments.push(self.segment(files, &at, first, None));
                return Ok(Ok((segments, Time::from_micros(end))));
            }
            let Some((gap, here, there)) = self.watch_gap(files, &at, next..parts)? else {
                let border = files[at.file].watching().marks.last().map_or(Time::ZERO, |m| Time::from_micros(m.time));
                return Ok(Err(format!("its parts do not meet at {border}")));
            };
            segments.push(self.segment(files, &at, first, Some(here)));
            files.push(gap);
            at = cross(files, &at, here, files.len() - 1, there);
            stitched.gaps += 1;
        }
    }

    fn segment(&self, files: &[PartFile], at: &Place, first: usize, until: Option<usize>) -> Segment {
        let end = until.map_or(files[at.file].len(), |n| files[at.file].watching().marks[n].told);
        Segment { file: at.file, first, end, frames: at.frames, scenes: at.scenes }
    }

    /// Watches on where the watching at `at` ends, until one of the parts `ahead` is met or the film ends. Gives the gap, and
    /// the seam with what is before it.
    fn watch_gap(
        &self,
        files: &[PartFile],
        at: &Place,
        ahead: std::ops::Range<usize>,
    ) -> Result<Option<(PartFile, usize, usize)>> {
        let before = files[at.file].watching();
        let Some(last) = before.marks.last() else { return Ok(None) };
        let digests = |w: &Watching| w.marks.iter().map(|m| (m.time, m.digest.clone())).collect::<HashSet<_>>();
        let known = digests(before);
        let wanted: HashSet<_> = ahead.flat_map(|n| digests(files[n].watching())).collect();
        for (back, run_up) in RUN_UPS {
            let Some(scene) = files[at.file].scene_start(last.told, back) else { continue };
            let from = (scene - run_up).max(Time::ZERO);
            let (mut joined, mut met) = (false, None);
            let mut stop = |mark: &Mark| {
                let here = (mark.time, mark.digest.clone());
                joined |= known.contains(&here);
                if wanted.contains(&here) {
                    met.get_or_insert(mark.time);
                }
                match met {
                    // Not joined by now, it never will be.
                    _ if !joined => mark.time >= last.time,
                    Some(at) => mark.time - at >= LASTING,
                    None => false,
                }
            };
            let path = self.scratch.join(format!("gap-{}.part", files.len()));
            let from = (from > Time::ZERO).then_some(from);
            let film = self.film.clone();
            watch_into(
                self.input,
                (from, None),
                (0, 0),
                film,
                self.config,
                (self.models)()?,
                self.interrupt,
                self.observer,
                &mut stop,
                &path,
                true,
            )?;
            let gap = PartFile::open(&path)?;
            // Open files outlive their names.
            let _ = std::fs::remove_file(&path);
            if let Some((here, there)) = seam(before, at.mark, gap.watching()) {
                return Ok(Some((gap, here, there)));
            }
        }
        Ok(None)
    }
}

/// From one watching into another, at their seam.
fn cross(files: &[PartFile], at: &Place, here: usize, other: usize, there: usize) -> Place {
    let (from, to) = (&files[at.file].watching().marks[here], &files[other].watching().marks[there]);
    Place {
        file: other,
        mark: Some(there),
        frames: at.frames.wrapping_add(from.frame).wrapping_sub(to.frame),
        scenes: at.scenes.wrapping_add(from.scene).wrapping_sub(to.scene),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watching(marks: &[(i64, &str)]) -> Watching {
        let mark = |&(time, digest): &(i64, &str)| Mark {
            time,
            frame: time as u64,
            scene: 0,
            told: 0,
            digest: digest.into(),
            losses: 0,
        };
        Watching { marks: marks.iter().map(mark).collect(), ..Watching::default() }
    }

    #[test]
    fn a_seam_is_the_first_agreement_that_lasts() {
        let early = watching(&[(1, "a"), (2, "b"), (3, "c"), (4, "d")]);
        assert_eq!(seam(&early, None, &watching(&[(2, "x"), (3, "c"), (4, "d"), (5, "e")])), Some((2, 1)));
        // They part again: what they agreed in was not all.
        assert_eq!(seam(&early, None, &watching(&[(2, "b"), (3, "c"), (4, "x")])), None);
        assert_eq!(seam(&early, None, &watching(&[(5, "a"), (6, "b")])), None);
        assert_eq!(seam(&early, Some(3), &watching(&[(2, "b"), (4, "d")])), Some((3, 1)));
    }

    #[test]
    fn losses_count_from_the_seam_on() {
        let mut w = watching(&[(1, "a"), (2, "b")]);
        w.marks[1].losses = 3;
        w.losses = 3;
        assert_eq!(flaw(&w, Some(1)), None);
        assert!(flaw(&w, Some(0)).is_some() && flaw(&w, None).is_some());
        w.timeless = Some("no clock".into());
        assert!(flaw(&w, Some(1)).is_some());
    }
}
