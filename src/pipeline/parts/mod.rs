//! Parts of a long film: watched by processes of their own, on any machines, and stitched without a seam.
//!
//! **A part** ([`watch`]) is a stretch of the film and [`PartOptions::overlap`] more on either side. It is watched as a film
//! is, from a keyframe of the container on, and leaves one file ([`PartFile`]) with its keyframes, their embeddings and
//! captions, and a mark for every second: a digest of everything that the keyframes to come depend on.
//!
//! **A seam** ([`stitch`]) is a mark at which two neighbours have the same digest. Scene detector, keyframe selector and the
//! pictures that they hold are then the same in both, the last picture was read from the same byte of the file, and all
//! that follows comes of the same packets: from there on the earlier part would have told what the later one tells. Where
//! a part began is forgotten at the first change of scene that both have seen, so an overlap of some scenes has a seam.
//! Every later mark that both have must be the same, too.
//!
//! Where neighbours have no seam (one shot longer than the overlap), the earlier part goes on: the gap is watched, from a
//! scene before it, until it meets a later part or the end. Where that does not meet either, where anything was lost in
//! decoding, or where a container has no clock of its own, the film is described whole: never a track that is only likely.
//!
//! What depends on the whole film (which scene returns, captions of what a part thought known, cues) is done in the
//! stitch, over all keyframes in order, by the same stages that one run has ([`crate::pipeline::retell`]).
//!
//! Memory: a part holds what the pipeline holds, and its marks; pictures' figures go to its file as they come. The stitch
//! reads them one keyframe at a time.

mod file;
pub mod mark;
mod stitch;

use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::decode::{DecodeOptions, Source};
use crate::pipeline::{Config, Mark, Model, Observer, Stats, watch_stretch};
use crate::scene::Detector;
use crate::time::Time;
pub use file::{PartFile, PartWriter};
pub use stitch::{Stitched, stitch};

/// Which stretch of a film a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartOptions {
    /// From 1 to `of`.
    pub number: u32,
    /// Parts in all: equal shares of the length that the container tells.
    pub of: u32,
    /// How much of each neighbour is watched, too: half of it before, half after. Default: 40 s.
    pub overlap: Time,
}

/// The overlap where none is asked for: several scenes of most films.
pub const OVERLAP: Time = Time::from_millis(40_000);

/// Most parts of one film.
pub const MOST: u32 = 10_000;

impl PartOptions {
    /// Reads `2/8`.
    pub fn parse(text: &str) -> std::result::Result<(u32, u32), String> {
        let (number, of) = text.split_once('/').ok_or("use NUMBER/OF, for example 2/8")?;
        let count = |s: &str| s.trim().parse::<u32>().map_err(|_| "use NUMBER/OF, for example 2/8".to_string());
        let (number, of) = (count(number)?, count(of)?);
        if !(1..=MOST).contains(&of) || !(1..=of).contains(&number) {
            return Err(format!("the number must be from 1 to OF, and OF at most {MOST}"));
        }
        Ok((number, of))
    }

    /// What is watched of a film of this length; no start for the first, no end for the last.
    fn stretch(&self, length: Time) -> (Option<Time>, Option<Time>) {
        let half = Time::from_micros(self.overlap.micros().max(0) / 2);
        let border = |n: u32| {
            Time::from_micros((i128::from(length.micros()) * i128::from(n) / i128::from(self.of.max(1))) as i64)
        };
        let start = (self.number > 1).then(|| border(self.number - 1) - half).filter(|t| *t > Time::ZERO);
        let end = (self.number < self.of).then(|| border(self.number) + half);
        (start, end)
    }
}

/// What a part file says of the film and of how it was watched: parts that are stitched must agree in it.
fn identity(input: &str, config: &Config, model: &Model) -> Result<Value> {
    if config.decode.start.is_some() || config.decode.end.is_some() {
        return Err(Error::usage(
            "a part of a film cannot have a --start or an --end",
            "Describe that stretch by itself, without parts.",
        ));
    }
    let bytes = std::fs::metadata(input).ok().filter(std::fs::Metadata::is_file).map(|m| m.len());
    Ok(serde_json::json!({
        "descry": env!("CARGO_PKG_VERSION"),
        "bytes": bytes,
        "model": model.name,
        "model_hash": model.hash,
        "options": config.told(&model.decoding),
        "thumbnails": [config.thumbnail.width, u32::from(config.thumbnail.quality)],
    }))
}

/// Opens the film and says how long it is.
fn length(source: &Source, input: &str) -> Result<Time> {
    source.info().duration.map(Time::from_secs).ok_or_else(|| {
        Error::input(
            input,
            "its container does not tell how long it is, so that it cannot be parted",
            "Describe it whole, or put it into another container: ffmpeg -i INPUT -c copy OUTPUT.mkv",
        )
    })
}

/// What of `config` is another for a stretch that does not begin at the film's beginning.
fn stretch_config(
    input: &str,
    config: &Config,
    from: Option<Time>,
    until: Option<Time>,
    interrupt: &Interrupt,
) -> Result<Config> {
    let mut config = config.clone();
    config.decode.start = from;
    config.decode.end = until;
    if config.scene.detector == Detector::Fixed && from.is_some() {
        // Intervals count from the film's first frame.
        let whole = DecodeOptions { start: None, end: None, ..config.decode.clone() };
        config.scene.origin = Source::open(input, &whole, interrupt.clone())?.next()?.map(|frame| frame.time);
    }
    Ok(config)
}

/// Watches one part of a film and writes its file to `to`, which must not exist unless `force`.
#[allow(clippy::too_many_arguments)]
pub fn watch(
    input: &str,
    part: &PartOptions,
    config: &Config,
    model: Model,
    interrupt: &Interrupt,
    observer: &dyn Observer,
    to: &Path,
    force: bool,
) -> Result<Stats> {
    let identity = identity(input, config, &model)?;
    let (from, until) = {
        let source = Source::open(input, &config.decode, interrupt.clone())?;
        part.stretch(length(&source, input)?)
    };
    watch_into(
        input,
        (from, until),
        (part.number, part.of),
        identity,
        config,
        model,
        interrupt,
        observer,
        &mut |_| false,
        to,
        force,
    )
}

#[allow(clippy::too_many_arguments)]
fn watch_into(
    input: &str,
    (from, until): (Option<Time>, Option<Time>),
    number: (u32, u32),
    identity: Value,
    config: &Config,
    model: Model,
    interrupt: &Interrupt,
    observer: &dyn Observer,
    stop: &mut (dyn FnMut(&Mark) -> bool + Send),
    to: &Path,
    force: bool,
) -> Result<Stats> {
    let config = stretch_config(input, config, from, until, interrupt)?;
    let mut writer = PartWriter::create(to, force)?;
    let (watching, stats) =
        watch_stretch(input, &config, model, interrupt, observer, stop, &mut |glimpse| writer.push(&glimpse))?;
    writer.finish(identity, number, watching)?;
    Ok(stats)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_tile_the_film_and_overlap() {
        let length = Time::from_millis(100_000);
        let of = |number| PartOptions { number, of: 4, overlap: Time::from_millis(10_000) }.stretch(length);
        let at = |secs: i64| Some(Time::from_millis(secs * 1_000));
        assert_eq!([of(1), of(2), of(4)], [(None, at(30)), (at(20), at(55)), (at(70), None)]);
        let one = PartOptions { number: 1, of: 1, overlap: OVERLAP };
        assert_eq!(one.stretch(length), (None, None));
    }

    #[test]
    fn numbers_are_read() {
        assert_eq!(PartOptions::parse("2/8"), Ok((2, 8)));
        for bad in ["", "2", "0/3", "4/3", "1/0", "a/b", "-1/3", "1/99999"] {
            assert!(PartOptions::parse(bad).is_err(), "{bad}");
        }
    }
}
