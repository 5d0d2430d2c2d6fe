//! From parts to the track of the whole film: seams, gaps, and what cannot be stitched.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde_json::Value;

use super::assemble::{AssembleJob, assemble_track};
use super::file::PartFile;
use super::mark::{Mark, StretchReport};
use super::stretch::StretchJob;
use super::{Stretch, identity, length};
use crate::address::Address;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::isolate::FrameSource;
use crate::model::Model;
use crate::pipeline::message::EncodedKeyframe;
use crate::pipeline::{Config, Job, KeyframeSink, Observer, Outcome, Stats, run};
use crate::time::Time;

/// How a film was put together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stitched {
    /// Seams between parts that met in their overlap.
    pub seams: usize,
    /// Gaps that had to be decoded again because neighbours did not meet.
    pub gaps: usize,
    /// Why the film was described whole instead.
    pub whole: Option<String>,
}

/// How long before a scene the decoding of a gap begins, so that its initial state is forgotten within the scene; tried in
/// turn, with how many scenes earlier.
const RUN_UPS: [(usize, Time); 2] = [(0, Time::from_millis(15_000)), (8, Time::from_millis(60_000))];

/// How much longer a gap is decoded once it has met a part, so that they agree in more than one mark; microseconds.
const LASTING: i64 = 3_000_000;

/// Keyframes of one stretch: those from `first` on, up to `end`.
struct KeyframeSpan {
    file: usize,
    first: usize,
    end: usize,
    /// What is added to ordinals of frames and of scenes, wrapping.
    frames: u64,
    scenes: u32,
}

/// Where the walk along the film is: in a stretch, from its mark `mark` on (none: from its first frame on).
struct Position {
    file: usize,
    mark: Option<usize>,
    frames: u64,
    scenes: u32,
}

/// The first mark that both have with one digest, if every later one that both have is the same, too.
fn seam(early: &StretchReport, from: Option<usize>, late: &StretchReport) -> Option<(usize, usize)> {
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

/// What keeps a stretch from being part of a film, from one of its marks on. Losses before that mark come from the seek, or
/// belong to the part before.
fn flaw(report: &StretchReport, from: Option<usize>) -> Option<String> {
    if let Some(reason) = &report.timeless {
        return Some(reason.clone());
    }
    let before = from.and_then(|n| report.marks.get(n)).map_or(0, |m| m.losses);
    (report.losses > before).then(|| "something was lost in decoding".to_string())
}

/// Opens the parts and puts them in order; they must be of one film, made with one set of options, and complete.
fn checked(paths: &[&Path], film: &Value) -> Result<Vec<PartFile>> {
    let mut parts = paths.iter().map(|p| PartFile::open(p)).collect::<Result<Vec<_>>>()?;
    parts.sort_by_key(|p| p.part().0);
    let again = "Make all parts with the same options, model and version of descry.";
    for part in &parts {
        for key in ["bytes", "descry", "model", "model_hash", "options", "thumbnails"] {
            if part.film()[key] != film[key] {
                let what = match key {
                    "bytes" => "belongs to a film of another size",
                    "descry" => "was made by another version of descry",
                    "options" | "thumbnails" => "was made with other options",
                    _ => "was made with another model",
                };
                return Err(Error::input(part.name(), what, again));
            }
        }
    }
    let of = parts.first().map_or(0, |p| p.part().1);
    for (n, part) in parts.iter().enumerate() {
        let (number, all) = part.part();
        if all != of || number as usize != n + 1 {
            let cause = format!("is part {number} of {all}, where part {} of {of} is expected", n + 1);
            return Err(Error::input(part.name(), cause, "Name every part once, and no others."));
        }
    }
    if parts.len() != of as usize {
        let cause = format!("{} of the film's {of} parts are given", parts.len());
        return Err(Error::usage(cause, "Name every part once."));
    }
    Ok(parts)
}

/// A film to put together from its parts.
pub struct StitchJob<'a> {
    /// The film: a path or URL.
    pub input: &'a Address,
    /// The files of all parts, in any order.
    pub parts: &'a [&'a Path],
    /// The options that the parts were made with.
    pub config: &'a Config,
    /// Makes the model, each time that one is needed.
    pub models: &'a dyn Fn() -> Result<Model>,
    /// A folder for gaps that must be decoded again.
    pub scratch: &'a Path,
    /// Stops the work.
    pub interrupt: &'a Interrupt,
    /// Follows the progress.
    pub observer: &'a dyn Observer,
    /// Stores keyframes as they come.
    pub sink: Option<&'a dyn KeyframeSink>,
}

/// Puts the parts of a film together. `done` receives what a single run over the whole film would give, byte for byte.
///
/// # Errors
/// When the parts do not belong together, the film cannot be read, or the model fails.
pub fn stitch(job: &StitchJob<'_>, done: &mut dyn FnMut(Outcome)) -> Result<(Stitched, Stats)> {
    let StitchJob { input, config, interrupt, observer, sink, .. } = *job;
    let film = identity(input, config, &(job.models)()?)?;
    let mut files = checked(job.parts, &film)?;
    let source = FrameSource::open(input, &config.decode, config.isolation.as_ref(), interrupt.clone())?;
    length(&source, input)?;
    let info = source.info().clone();
    drop(source);
    let mut stitched = Stitched::default();
    let route = Walk { job, film: &film, stitched: &mut stitched }.along(&mut files)?;
    let (spans, end) = match route {
        Route::Complete { spans, end } => (spans, end),
        Route::Broken(reason) => {
            let whole = Stitched { whole: Some(reason), ..Stitched::default() };
            let inputs = [input.clone()];
            let job = Job { inputs: &inputs, config, model: (job.models)()?, interrupt, observer, sink };
            return Ok((whole, run(job, |_, outcome| done(outcome))?));
        }
    };
    let mut outcome = None;
    let assemble = AssembleJob { input, info, end, config, model: (job.models)()?, interrupt, observer, sink };
    let stats = assemble_track(assemble, &mut keyframes(&mut files, &spans), &mut |_, o| outcome = Some(o))?;
    if let Some(outcome) = outcome {
        done(outcome);
    }
    Ok((stitched, stats))
}

/// All keyframes of the film, counted as one run counts.
fn keyframes<'a>(
    files: &'a mut [PartFile],
    spans: &'a [KeyframeSpan],
) -> impl Iterator<Item = Result<EncodedKeyframe>> + Send + use<'a> {
    let numbers = spans.iter().flat_map(|s| (s.first..s.end).map(move |n| (s, n)));
    numbers.map(move |(s, n)| {
        let mut keyframe = files[s.file].keyframe(n)?;
        let m = &mut keyframe.info;
        m.scene = m.scene.wrapping_add(s.scenes);
        for index in [&mut m.index, &mut m.start_frame, &mut m.end_frame] {
            *index = index.wrapping_add(s.frames);
        }
        Ok(keyframe)
    })
}

/// How to get through the whole film.
enum Route {
    /// Which keyframes of which stretches, and the film's end.
    Complete { spans: Vec<KeyframeSpan>, end: Time },
    /// Why the parts do not make the film.
    Broken(String),
}

/// The walk along the film, from part to part.
struct Walk<'a> {
    job: &'a StitchJob<'a>,
    film: &'a Value,
    stitched: &'a mut Stitched,
}

impl Walk<'_> {
    /// From the first frame to the last.
    fn along(&mut self, files: &mut Vec<PartFile>) -> Result<Route> {
        let parts = files.len();
        let mut spans = Vec::new();
        let mut at = Position { file: 0, mark: None, frames: 0, scenes: 0 };
        // The next part that may be met.
        let mut next = 1;
        loop {
            if let Some(flaw) = flaw(files[at.file].report(), at.mark) {
                return Ok(Route::Broken(flaw));
            }
            if let Some(cause) = &files[at.file].report().empty {
                return Ok(Route::Broken(cause.clone()));
            }
            let first = at.mark.map_or(0, |n| files[at.file].report().marks[n].emitted);
            // The nearest part first.
            let met = (next..parts).find_map(|other| {
                seam(files[at.file].report(), at.mark, files[other].report()).map(|seam| (other, seam))
            });
            if let Some((other, (here, there))) = met {
                spans.push(self.span(files, &at, first, Some(here)));
                at = cross(files, &at, here, other, there);
                next = other + 1;
                self.stitched.seams += 1;
                continue;
            }
            if let Some(end) = files[at.file].report().finished {
                spans.push(self.span(files, &at, first, None));
                return Ok(Route::Complete { spans, end: Time::from_micros(end) });
            }
            let Some((gap, here, there)) = self.fill_gap(files, &at, next..parts)? else {
                let border = files[at.file].report().marks.last().map_or(Time::ZERO, |m| Time::from_micros(m.time));
                return Ok(Route::Broken(format!("its parts do not meet at {border}")));
            };
            spans.push(self.span(files, &at, first, Some(here)));
            files.push(gap);
            at = cross(files, &at, here, files.len() - 1, there);
            self.stitched.gaps += 1;
        }
    }

    fn span(&self, files: &[PartFile], at: &Position, first: usize, until: Option<usize>) -> KeyframeSpan {
        let end = until.map_or(files[at.file].len(), |n| files[at.file].report().marks[n].emitted);
        KeyframeSpan { file: at.file, first, end, frames: at.frames, scenes: at.scenes }
    }

    /// Decodes from where the stretch at `at` ends, until one of the parts `ahead` is met or the film ends. Returns the gap,
    /// and its seam with the stretch before it.
    fn fill_gap(
        &self,
        files: &[PartFile],
        at: &Position,
        ahead: std::ops::Range<usize>,
    ) -> Result<Option<(PartFile, usize, usize)>> {
        let before = files[at.file].report();
        let Some(last) = before.marks.last() else { return Ok(None) };
        let digests = |w: &StretchReport| w.marks.iter().map(|m| (m.time, m.digest.clone())).collect::<HashSet<_>>();
        let known = digests(before);
        let wanted: HashSet<_> = ahead.flat_map(|n| digests(files[n].report())).collect();
        for (back, run_up) in RUN_UPS {
            let Some(scene) = files[at.file].scene_start(last.emitted, back) else { continue };
            let from = (scene - run_up).max(Time::ZERO);
            let (mut joined, mut met) = (false, None);
            let mut stop = |mark: &Mark| {
                let here = (mark.time, mark.digest.clone());
                joined |= known.contains(&here);
                if wanted.contains(&here) {
                    met.get_or_insert(mark.time);
                }
                match met {
                    // If it has not joined by now, it never will.
                    _ if !joined => mark.time >= last.time,
                    Some(at) => mark.time - at >= LASTING,
                    None => false,
                }
            };
            let path = self.job.scratch.join(format!("gap-{}.part", files.len()));
            let StitchJob { input, config, interrupt, observer, .. } = *self.job;
            let stretch = Stretch {
                start: (from > Time::ZERO).then_some(from),
                end: None,
                number: (0, 0),
                film: self.film.clone(),
                job: StretchJob { input, config, model: (self.job.models)()?, interrupt, observer },
            };
            stretch.write(&path, true, &mut stop)?;
            let gap = PartFile::open(&path)?;
            // The open file outlives its name.
            let _ = std::fs::remove_file(&path);
            if let Some((here, there)) = seam(before, at.mark, gap.report()) {
                return Ok(Some((gap, here, there)));
            }
        }
        Ok(None)
    }
}

/// From one stretch into another, at their seam.
fn cross(files: &[PartFile], at: &Position, here: usize, other: usize, there: usize) -> Position {
    let (from, to) = (&files[at.file].report().marks[here], &files[other].report().marks[there]);
    Position {
        file: other,
        mark: Some(there),
        frames: at.frames.wrapping_add(from.frame).wrapping_sub(to.frame),
        scenes: at.scenes.wrapping_add(from.scene).wrapping_sub(to.scene),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(marks: &[(i64, &str)]) -> StretchReport {
        let mark = |&(time, digest): &(i64, &str)| Mark {
            time,
            frame: time as u64,
            scene: 0,
            emitted: 0,
            digest: digest.into(),
            losses: 0,
        };
        StretchReport { marks: marks.iter().map(mark).collect(), ..StretchReport::default() }
    }

    #[test]
    fn a_seam_is_the_first_agreement_that_lasts() {
        let early = report(&[(1, "a"), (2, "b"), (3, "c"), (4, "d")]);
        assert_eq!(seam(&early, None, &report(&[(2, "x"), (3, "c"), (4, "d"), (5, "e")])), Some((2, 1)));
        // They diverge again, so they did not agree in everything.
        assert_eq!(seam(&early, None, &report(&[(2, "b"), (3, "c"), (4, "x")])), None);
        assert_eq!(seam(&early, None, &report(&[(5, "a"), (6, "b")])), None);
        assert_eq!(seam(&early, Some(3), &report(&[(2, "b"), (4, "d")])), Some((3, 1)));
    }

    #[test]
    fn losses_count_from_the_seam_on() {
        let mut w = report(&[(1, "a"), (2, "b")]);
        w.marks[1].losses = 3;
        w.losses = 3;
        assert_eq!(flaw(&w, Some(1)), None);
        assert!(flaw(&w, Some(0)).is_some() && flaw(&w, None).is_some());
        w.timeless = Some("no clock".into());
        assert!(flaw(&w, Some(1)).is_some());
    }
}
