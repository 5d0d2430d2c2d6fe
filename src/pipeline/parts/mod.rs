//! Parts of a long film: described by processes of their own, on any machines, and stitched without a seam.
//!
//! **A part** ([`describe_part`]) is a stretch of the film and half of [`PartOptions::overlap`] more on either side. It is
//! decoded from a keyframe of the container on, like a whole film, and leaves one file ([`PartFile`]) with its keyframes,
//! their embeddings and captions, and a [`Mark`] for every second: a digest of everything that the following keyframes
//! depend on.
//!
//! **A seam** ([`stitch`]) is a mark at which two neighbours have the same digest. Scene detector, keyframe selector and the
//! pictures that they hold are then the same in both, the last picture was read from the same byte of the file, and
//! everything that follows comes from the same packets: from here on both parts emit identical keyframes. The state from
//! which a part began is forgotten at the first scene change that both have seen, so an overlap of a few scenes has a seam.
//! Every later mark that both have must be the same, too.
//!
//! Where neighbours have no seam (one shot is longer than the overlap), the earlier part is extended: the gap is decoded,
//! from a scene before it, until it meets a later part or the end. Where that does not meet either, where anything was lost
//! in decoding, or where a container has no clock of its own, the film is described as a whole: a track must be right,
//! not just probably right.
//!
//! The stitch does what depends on the whole film: which scenes return, captions of pictures that a part did not recognise
//! as new, and cues. It runs the stages of a single run over all keyframes in order.
//!
//! Memory: a part holds what the pipeline holds, and its marks; embeddings and pictures go to its file as they come. The
//! stitch reads them one keyframe at a time.

mod assemble;
mod file;
pub(crate) mod mark;
mod stitch;
mod stretch;

use std::path::Path;

use serde_json::Value;

use crate::address::Address;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::isolate::FrameSource;
use crate::media::{DecodeOptions, SideTrack};
use crate::message;
use crate::message::Setting;
use crate::model::Model;
use crate::pipeline::{Config, Observer, Stats};
use crate::scene::Detector;
use crate::time::Time;
pub use file::{PartFile, PartWriter};
pub use mark::{Mark, StretchReport};
pub use stitch::{StitchJob, Stitched, stitch};
use stretch::{StretchJob, watch_stretch};

/// Which stretch of a film a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartOptions {
    /// From 1 to `of`.
    pub number: u32,
    /// Parts in all: equal shares of the length that the container states.
    pub of: u32,
    /// What neighbours share: half of it before their border, half after. Default: [`OVERLAP`].
    pub overlap: Time,
}

/// The overlap where none is given, 40 s: several scenes of most films.
pub const OVERLAP: Time = Time::from_millis(40_000);

/// Most parts of one film.
pub const MOST_PARTS: u32 = 10_000;

impl PartOptions {
    /// Reads `2/8` as number and count.
    ///
    /// # Errors
    /// A text for people where it is something else.
    pub fn parse(text: &str) -> std::result::Result<(u32, u32), String> {
        let (number, of) = text.split_once('/').ok_or("use NUMBER/OF, for example 2/8")?;
        let count = |s: &str| s.trim().parse::<u32>().map_err(|_| "use NUMBER/OF, for example 2/8".to_string());
        let (number, of) = (count(number)?, count(of)?);
        if !(1..=MOST_PARTS).contains(&of) || !(1..=of).contains(&number) {
            return Err(format!("the number must be from 1 to OF, and OF at most {MOST_PARTS}"));
        }
        Ok((number, of))
    }

    /// The stretch of a film of this length; no start for the first part, no end for the last.
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

/// One part of a film to describe.
pub struct PartJob<'a> {
    /// The film: a path or URL.
    pub input: &'a Address,
    /// Which part.
    pub part: PartOptions,
    /// Options of all stages. Parts that are stitched must agree in what decides the content.
    pub config: &'a Config,
    /// The model.
    pub model: Model,
    /// Stops the work.
    pub interrupt: &'a Interrupt,
    /// Follows the progress.
    pub observer: &'a dyn Observer,
    /// The part's file.
    pub output: &'a Path,
    /// Whether to replace a file that exists.
    pub overwrite: bool,
}

/// Describes one part of a film into its file.
///
/// # Errors
/// When the film cannot be read, states no length, the model fails, or the file cannot be written.
pub fn describe_part(job: PartJob<'_>) -> Result<Stats> {
    let PartJob { input, part, config, model, interrupt, observer, output, overwrite } = job;
    let film = identity(input, config, &model)?;
    let (start, end) = {
        let source = FrameSource::open(input, &config.decode, config.isolation.as_ref(), interrupt.clone())?;
        part.stretch(length(&source, input)?)
    };
    let stretch = Stretch {
        start,
        end,
        number: (part.number, part.of),
        film,
        job: StretchJob { input, config, model, interrupt, observer },
    };
    stretch.write(output, overwrite, &mut |_| false)
}

/// A stretch of a film on its way into a part's file.
struct Stretch<'a> {
    start: Option<Time>,
    end: Option<Time>,
    /// Number of the part, and how many there are.
    number: (u32, u32),
    /// The film's [`identity`].
    film: Value,
    job: StretchJob<'a>,
}

impl Stretch<'_> {
    /// Decodes and describes the stretch into a file. `enough` ends it at a mark.
    fn write(self, to: &Path, overwrite: bool, enough: &mut (dyn FnMut(&Mark) -> bool + Send)) -> Result<Stats> {
        let Stretch { start, end, number, film, job } = self;
        let config = stretch_config(job.input, job.config, start, end, job.interrupt)?;
        let mut writer = PartWriter::create(to, overwrite)?;
        let job = StretchJob { config: &config, ..job };
        let (report, stats) = watch_stretch(job, enough, &mut |keyframe| writer.push(&keyframe))?;
        writer.finish(film, number, report)?;
        Ok(stats)
    }
}

/// The film and the options as a part's file states them: parts that are stitched must agree in it.
fn identity(input: &Address, config: &Config, model: &Model) -> Result<Value> {
    if config.decode.start.is_some() || config.decode.end.is_some() {
        return Err(Error::usage(
            message!["a part of a film cannot have a ", Setting::Start, " or an ", Setting::End],
            "Describe that stretch by itself, without parts.",
        ));
    }
    if model.prompt.as_ref().is_some_and(|prompt| prompt.options.context > 0) {
        return Err(Error::usage(
            message![
                "a part of a film cannot have ",
                Setting::Context,
                ": the descriptions before it are in another part"
            ],
            "Leave it out, or describe the film as a whole.",
        ));
    }
    let bytes = std::fs::metadata(input.reveal()).ok().filter(std::fs::Metadata::is_file).map(|m| m.len());
    Ok(serde_json::json!({
        "descry": env!("CARGO_PKG_VERSION"),
        "bytes": bytes,
        "model": model.name,
        "model_hash": model.hash,
        "options": config.content_options(&model.decoding),
        "thumbnails": [config.thumbnail.width, u32::from(config.thumbnail.quality)],
    }))
}

/// How long the film is, as its container states it.
fn length(source: &FrameSource, input: &Address) -> Result<Time> {
    source.info().duration.map(Time::from_secs).ok_or_else(|| {
        Error::input(
            input.shown(),
            "its container does not state how long it is, so it cannot be divided",
            "Describe it as a whole, or put it into another container: ffmpeg -i INPUT -c copy OUTPUT.mkv",
        )
    })
}

/// The options for a stretch of the film.
fn stretch_config(
    input: &Address,
    config: &Config,
    start: Option<Time>,
    end: Option<Time>,
    interrupt: &Interrupt,
) -> Result<Config> {
    let mut config = config.clone();
    // Speech is found in the whole film, when its parts are stitched.
    config.decode.side_track = SideTrack::Nothing;
    config.decode.start = start;
    config.decode.end = end;
    if config.scene.detector == Detector::Fixed && start.is_some() {
        // Intervals count from the film's first frame.
        let whole = DecodeOptions { start: None, end: None, ..config.decode.clone() };
        let mut source = FrameSource::open(input, &whole, config.isolation.as_ref(), interrupt.clone())?;
        config.scene.origin = source.next()?.map(|frame| frame.time);
    }
    Ok(config)
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
