//! Arguments of decoding, and how they become the library's options.

use clap::{Args, ValueEnum};

use super::isolate_args::{IsolateArgs, IsolateDefaults};
use super::model_args::cores;
use super::reporter::Reporter;
use super::values;
use crate::error::{Error, Result};
use crate::isolate::{Isolation, Protection};
use crate::media::{DecodeOptions, DecodedFrames, check_device};
use crate::pipeline::Config;
use crate::time::Time;

/// Largest frame that is decoded: 8192 × 8192 pixels, beyond any common video format.
pub(super) const MAX_PIXELS: u64 = 8192 * 8192;
/// Most videos at the same time unless the user asks for more: each takes memory.
const MOST_JOBS: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum DecodeMode {
    /// Every frame
    All,
    /// Every frame that others refer to, and few of the others: a cut may be found up to two frames late
    Fast,
    /// Only the keyframes of the container: many times faster, but scene changes are found only at those
    Keyframes,
}

impl DecodeMode {
    pub(super) fn frames(self) -> DecodedFrames {
        match self {
            DecodeMode::All => DecodedFrames::All,
            DecodeMode::Fast => DecodedFrames::Fast,
            DecodeMode::Keyframes => DecodedFrames::Keyframes,
        }
    }
}

/// What is decoded, and how.
#[derive(Args)]
#[command(next_help_heading = "Decoding")]
pub(super) struct DecodeArgs {
    /// Where to start: seconds, MM:SS or HH:MM:SS [default: at the beginning]
    ///
    /// All times and durations can be written in any of these forms, with a fraction.
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    start: Option<Time>,
    /// Where to stop [default: at the end]
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    end: Option<Time>,
    #[command(flatten)]
    pub(super) frames: FrameArgs,
    /// Videos to process at the same time [default: 1; index chooses]
    ///
    /// index processes one video for each core, and at most 8, if there are at least two for each. With --threads,
    /// --decode-threads, --hwaccel or --mode keyframes, it processes one after the other.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
    /// Give up when a server sends nothing for this long
    #[arg(long, value_name = "SECONDS", value_parser = values::time, default_value = "30")]
    timeout: Time,
}

/// Which frames are decoded, with what, and where.
#[derive(Args)]
#[command(next_help_heading = "Decoding")]
pub(super) struct FrameArgs {
    /// Which frames to decode
    #[arg(long, value_enum, default_value = "all")]
    pub(super) mode: DecodeMode,
    /// Decoder threads per video [default: two more than cores, or half of the cores with --mode keyframes]
    ///
    /// 0 lets descry choose.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    decode_threads: usize,
    /// Decode on a hardware device of FFmpeg, such as vaapi or cuda
    ///
    /// descry fails if the device is absent. It never falls back to the CPU.
    #[arg(long, value_name = "DEVICE")]
    hwaccel: Option<String>,
    /// Refuse videos whose frames have more pixels
    ///
    /// Checked before memory is allocated for a frame. The default is 8192 × 8192.
    #[arg(long, value_name = "PIXELS", default_value_t = MAX_PIXELS)]
    max_pixels: u64,
    #[command(flatten)]
    isolate: IsolateArgs,
}

impl DecodeArgs {
    pub(super) fn check(&self) -> Result<()> {
        if let (Some(start), Some(end)) = (self.start, self.end)
            && end <= start
        {
            return Err(Error::usage("--end is not after --start", "Give an end that lies after the start."));
        }
        self.frames.check()
    }

    pub(super) fn options(&self) -> DecodeOptions {
        DecodeOptions {
            start: self.start,
            end: self.end,
            timeout: values::limit(self.timeout),
            ..self.frames.options()
        }
    }

    pub(super) fn jobs(&self) -> usize {
        self.jobs.map_or(1, usize::from)
    }

    /// Chooses how many of many videos to process at the same time, if the user leaves that to descry. A decoder with one
    /// thread does the same with a tenth less work than one with several, and there must be enough videos to the end.
    pub(super) fn spread(&self, config: &mut Config, videos: usize) {
        let frames = &self.frames;
        let is_chosen = self.jobs.is_some() || frames.decode_threads > 0 || frames.hwaccel.is_some();
        if is_chosen || frames.mode == DecodeMode::Keyframes {
            return;
        }
        let jobs = cores().min(videos / 2).min(MOST_JOBS);
        if jobs > 1 {
            config.jobs = jobs;
            config.decode.threads = cores() / jobs;
        }
    }
}

impl FrameArgs {
    /// Refuses a device that is absent.
    pub(super) fn check(&self) -> Result<()> {
        self.hwaccel.as_deref().map_or(Ok(()), check_device)
    }

    pub(super) fn options(&self) -> DecodeOptions {
        DecodeOptions {
            frames: self.mode.frames(),
            threads: self.threads(),
            hwaccel: self.hwaccel.clone(),
            max_pixels: self.max_pixels,
            ..DecodeOptions::default()
        }
    }

    /// How decoders are isolated; see [`IsolateArgs::settle`].
    pub(super) fn isolation(
        &self,
        defaults: &IsolateDefaults,
        reporter: &Reporter,
    ) -> Result<Option<(Isolation, Protection)>> {
        self.isolate.settle(defaults, self.hwaccel.is_some(), reporter)
    }

    /// Decoding keyframes alone is little work: more threads gain nothing and compete with those of the model.
    fn threads(&self) -> usize {
        match (self.decode_threads, self.mode) {
            (0, DecodeMode::Keyframes) => (cores() / 2).max(1),
            (threads, _) => threads,
        }
    }
}
