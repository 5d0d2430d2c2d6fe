//! The command line: options in, stages set up, messages and exit codes out.
//!
//! Results go to standard output or to files, everything else to standard error.

mod archive;
pub mod exit;
mod flags;
mod index;
mod parts;
pub mod progress;
mod search;

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::json;

use crate::address::hide;
use crate::cli::progress::{Bars, Silent};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::live::{
    self, HttpOptions, LiveConfig, LiveJob, LiveOptions, LiveSummary, OutputConfig, RtspTransport, fetch_status,
};
use crate::media::picture;
use crate::media::probe::probe;
use crate::media::thumbnail::ThumbnailOptions;
use crate::media::{DecodeOptions, check_device};
use crate::model::{CaptionOptions, Device, EncodeOptions, ModelFolder, SessionOptions, TextEncoder};
use crate::pipeline::{self, Config, Job, Model, Observer, StillOptions};
use crate::scene::{Detector, KeyframeOptions, SceneOptions};
use crate::time::Time;
use crate::track::CueOptions;
use crate::track::DedupOptions;
use crate::track::Format;
use crate::track::output::{self, Target};
use exit::Exit;

/// Watches video and says what is to be seen: timestamped descriptions as WebVTT.
#[derive(Parser)]
#[command(name = "descry", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Say nothing but errors.
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Say more; twice for FFmpeg's own messages (not with --log json, for they are none).
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// How messages are written to standard error: for people, or one JSON object a line.
    #[arg(long, global = true, value_enum, default_value = "text")]
    log: LogFormat,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Describe videos: files or URLs in, WebVTT (or SRT, JSON, CSV) out.
    Describe(Box<Describe>),
    /// Describe many videos into an archive, each once: folders, lists, object stores.
    Index(Box<index::Index>),
    /// Look after an archive.
    Archive {
        #[command(subcommand)]
        command: archive::ArchiveCommand,
    },
    /// Watch streams as they come and say what is new: URLs in, JSON lines out.
    Live(Box<Live>),
    /// Watch one part of a long film, for all parts to be stitched.
    Part(Box<parts::Part>),
    /// Put the parts of a film together: what describe gives, byte for byte.
    Stitch(Box<parts::Stitch>),
    /// Show what videos hold and what descry would do with them.
    Probe {
        #[arg(required = true)]
        inputs: Vec<String>,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Caption still pictures.
    Caption(Box<Caption>),
    /// Put pictures or texts into the model's embedding space, one JSON object a line out.
    Embed {
        /// Pictures, or folders of pictures.
        #[arg(required_unless_present = "text", conflicts_with = "text")]
        inputs: Vec<PathBuf>,
        /// Texts instead, one a line on standard input.
        #[arg(long)]
        text: bool,
        /// Print busy times of the stages and peak memory, as JSON on standard error.
        #[arg(long)]
        stats: bool,
        #[command(flatten)]
        model: ModelArgs,
    },
    /// Find moments of an archive by what is to be seen in them.
    Search(Box<search::Search>),
    /// Work with model folders.
    Model {
        #[command(subcommand)]
        command: ModelCommand,
    },
}

#[derive(Subcommand)]
enum ModelCommand {
    /// Show what a model folder holds, checked against its hashes.
    Show { dir: Option<String> },
}

#[derive(Args)]
struct ModelArgs {
    /// Model folder, or name of a model beside the program [default: the built-in model].
    #[arg(long, value_name = "DIR|NAME")]
    model: Option<String>,
    /// Where the model runs: cpu, cuda[:N], …
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Threads inside a model run [default: half of the cores, for the rest decodes].
    #[arg(long, value_name = "N")]
    model_threads: Option<usize>,
}

#[derive(Args)]
struct DecodingArgs {
    /// Beams of the search [default: the model's].
    #[arg(long, value_name = "N")]
    beam: Option<usize>,
    /// Take the likeliest token each time instead of searching.
    #[arg(long, conflicts_with = "beam")]
    greedy: bool,
    /// Draw tokens at random from this seed instead of searching.
    #[arg(long, value_name = "SEED", conflicts_with_all = ["beam", "greedy"])]
    sample: Option<u64>,
    /// Most tokens of a caption [default: the model's].
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// Leave captions of a lower score unsaid, 0 to 1 [default: the model's].
    #[arg(long, value_name = "SCORE")]
    min_score: Option<f32>,
    /// Most pictures in one model run; larger ones suit larger models and devices [default: 4; 16 with --mode keyframes,
    /// where pictures come dozens a second].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch: Option<u16>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Every frame is decoded and watched.
    All,
    /// Only the container's own keyframes: many times faster, times as fine as those.
    Keyframes,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenes {
    Adaptive,
    Content,
    Fixed,
}

/// Where descriptions go, and in which formats.
#[derive(Args)]
struct Written {
    /// File, folder, or - for standard output [default: beside each input].
    #[arg(short, long)]
    output: Option<String>,
    /// Output formats, separated by commas.
    #[arg(short, long, value_enum, value_delimiter = ',', default_value = "vtt")]
    format: Vec<Format>,
    /// Replace outputs that exist.
    #[arg(long)]
    force: bool,
}

impl Written {
    /// The targets of each input.
    fn plan(&self, inputs: &[String]) -> Result<Vec<Vec<Target>>> {
        let mut formats = self.format.clone();
        formats.sort_by_key(|f| *f as u8);
        formats.dedup();
        output::plan(inputs, self.output.as_deref(), &formats)
    }
}

/// The small pictures of keyframes.
#[derive(Args)]
struct Thumbnails {
    /// Most pixels across a thumbnail; 0 makes none.
    #[arg(long, value_name = "PIXELS", default_value_t = 320, value_parser = clap::value_parser!(u32).range(0..=1280))]
    thumbnail_width: u32,
    /// JPEG quality of thumbnails, 1 to 100.
    #[arg(long, value_name = "N", default_value_t = 80, value_parser = clap::value_parser!(u8).range(1..=100))]
    thumbnail_quality: u8,
}

impl Thumbnails {
    fn options(&self) -> ThumbnailOptions {
        ThumbnailOptions { width: self.thumbnail_width, quality: self.thumbnail_quality }
    }
}

#[derive(Args)]
struct Describe {
    /// Files or URLs.
    #[arg(required = true)]
    inputs: Vec<String>,
    #[command(flatten)]
    written: Written,
    /// Print as JSON on standard error how long each stage was busy.
    #[arg(long)]
    stats: bool,
    #[command(flatten)]
    how: Describing,
}

/// How films are described: the same for some of them and for an archive of many.
#[derive(Args)]
struct Describing {
    /// Files watched at once.
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// First moment to describe: seconds, MM:SS or HH:MM:SS.
    #[arg(long, value_parser = moment)]
    start: Option<Time>,
    /// First moment not to describe any more.
    #[arg(long, value_parser = moment)]
    end: Option<Time>,
    #[arg(long, value_enum, default_value = "all")]
    mode: Mode,
    /// How scene changes are found.
    #[arg(long, value_enum, default_value = "adaptive")]
    scenes: Scenes,
    /// adaptive: change over the mean change around it (3); content: mean HSV change of 255 (27).
    #[arg(long)]
    threshold: Option<f32>,
    /// fixed: time between keyframes.
    #[arg(long, value_parser = moment, default_value = "5")]
    interval: Time,
    /// Shortest scene.
    #[arg(long, value_parser = moment, default_value = "0.6")]
    min_scene: Time,
    /// A longer shot is looked at again.
    #[arg(long, value_parser = moment, default_value = "8")]
    max_gap: Time,
    /// Cosine from which a keyframe says nothing new [default: the model's].
    #[arg(long, value_name = "COSINE")]
    same: Option<f32>,
    /// Cosine from which a scene counts as an earlier one that returns [default: the model's].
    #[arg(long, value_name = "COSINE")]
    returning: Option<f32>,
    /// Caption every keyframe.
    #[arg(long, conflicts_with_all = ["same", "returning"])]
    no_dedup: bool,
    /// Characters a line.
    #[arg(long, default_value_t = 42, value_parser = clap::value_parser!(u16).range(8..=500))]
    max_line: u16,
    /// Lines a cue.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=20))]
    max_lines: u16,
    /// Characters read in a second.
    #[arg(long, default_value_t = 17.0)]
    reading_speed: f64,
    /// Shortest cue.
    #[arg(long, value_parser = moment, default_value = "1")]
    min_duration: Time,
    /// Longest cue [default: as long as its scene].
    #[arg(long, value_parser = moment)]
    max_duration: Option<Time>,
    /// Decoder threads [default: FFmpeg's choice; half of the cores with --mode keyframes].
    #[arg(long, default_value_t = 0)]
    decode_threads: usize,
    /// Decode on a hardware device of FFmpeg's (vaapi, cuda, …); an error where it is absent.
    #[arg(long, value_name = "NAME")]
    hwaccel: Option<String>,
    /// Refuse frames of more pixels.
    #[arg(long, default_value_t = 8192 * 8192)]
    max_pixels: u64,
    /// Seconds that a server may take to answer, and to give each next piece.
    #[arg(long, value_name = "SECS", value_parser = moment, default_value = "30")]
    timeout: Time,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    decoding: DecodingArgs,
}

#[derive(Args)]
struct Live {
    /// rtsp(s), rtmp(s), srt, http(s) (HLS, …) or udp (MPEG-TS) addresses, /dev/videoN; files with --realtime. Credentials on
    /// a command line are seen by every user of the machine: --config keeps them from that.
    urls: Vec<String>,
    /// Streams and their options from a TOML file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How RTSP brings its packets [default: tcp].
    #[arg(long, value_enum)]
    transport: Option<RtspTransport>,
    /// Watch files, at their own pace.
    #[arg(long)]
    realtime: bool,
    /// Without a frame for so many seconds a connection is given up and made again [default: 10].
    #[arg(long, value_name = "SECS")]
    silence: Option<f64>,
    /// A scene that goes on is looked at again after this [default: 8].
    #[arg(long, value_name = "SECS")]
    max_gap: Option<f64>,
    /// A scene that goes on is said again after this [default: never].
    #[arg(long, value_name = "SECS")]
    every: Option<f64>,
    /// Least time between two descriptions of a stream [default: 1].
    #[arg(long, value_name = "SECS")]
    min_interval: Option<f64>,
    /// Cosine from which a picture says nothing new [default: the model's].
    #[arg(long, value_name = "COSINE")]
    same: Option<f32>,
    /// Cosine from which a scene counts as an earlier one that returns [default: the model's].
    #[arg(long, value_name = "COSINE")]
    returning: Option<f32>,
    /// Decoder threads a stream; from 1 on they hold frames back [default: those that do not].
    #[arg(long, value_name = "N")]
    decode_threads: Option<usize>,
    /// Refuse frames of more pixels.
    #[arg(long, default_value_t = 8192 * 8192)]
    max_pixels: u64,
    /// A model that is at one run for so many seconds is told to hang; for twice as many, descry ends with 3 [default: 30].
    #[arg(long, value_name = "SECS")]
    hang: Option<f64>,
    /// Ask the descry that has --http (default 127.0.0.1:8080) how it is, and print that as JSON.
    #[arg(long)]
    status: bool,
    #[command(flatten)]
    outputs: OutputConfig,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    decoding: DecodingArgs,
}

/// How long a running descry may take to say how it is.
const STATUS: Duration = Duration::from_secs(5);

#[derive(Args)]
struct Caption {
    /// Pictures, or folders of pictures.
    #[arg(required = true)]
    inputs: Vec<PathBuf>,
    /// One JSON object a picture: image, text, ids, score, mean_logprob.
    #[arg(long)]
    json: bool,
    /// Add the embedding (length 1) to the JSON.
    #[arg(long, requires = "json")]
    embedding: bool,
    /// Print, at the end, what each stage was busy for, as JSON on standard error.
    #[arg(long)]
    stats: bool,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    decoding: DecodingArgs,
}

/// Seconds, `MM:SS` or `HH:MM:SS`, each with a fraction.
fn moment(text: &str) -> std::result::Result<Time, String> {
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() > 3 {
        return Err("use seconds, MM:SS or HH:MM:SS".into());
    }
    let mut secs = 0.0;
    for part in parts {
        let value: f64 = part.parse().map_err(|_| "use seconds, MM:SS or HH:MM:SS".to_string())?;
        if !(0.0..1e9).contains(&value) {
            return Err("must not be negative or endless".into());
        }
        secs = secs * 60.0 + value;
    }
    Ok(Time::from_secs(secs))
}

/// Messages for people (or as JSON) on standard error.
struct Voice {
    quiet: bool,
    verbose: u8,
    json: bool,
    bars: Option<Bars>,
}

impl Voice {
    fn say(&self, level: &str, text: &str) {
        self.line(&self.worded(level, text));
    }

    /// A message as a line.
    fn worded(&self, level: &str, text: &str) -> String {
        if self.json {
            json!({ "level": level, "message": text }).to_string()
        } else if level == "info" {
            text.to_string()
        } else {
            format!("{level}: {text}")
        }
    }

    fn line(&self, line: &str) {
        match &self.bars {
            Some(bars) => bars.say(line),
            // A closed standard error must not end the work.
            None => drop(writeln!(io::stderr(), "{line}")),
        }
    }

    /// Something for whoever sits before it; a program does not need it.
    fn note(&self, text: &str) {
        if !self.quiet && (self.verbose > 0 || io::stderr().is_terminal()) {
            self.say("info", text);
        }
    }

    /// What came of it, for people in words and for programs in fields.
    fn summary(&self, text: &str, fields: serde_json::Value) {
        if self.quiet {
            return;
        }
        if self.json {
            self.line(&json!({ "level": "info", "message": text, "result": fields }).to_string());
        } else {
            self.line(text);
        }
    }

    fn error(&self, e: &Error) {
        self.say("error", &flags::explain(e));
    }

    fn warn(&self, text: &str) {
        if !self.quiet {
            self.say("warning", text);
        }
    }

    fn info(&self, text: &str) {
        if self.verbose > 0 && !self.quiet {
            self.say("info", text);
        }
    }

    /// Lets what goes on for months log by itself, with times.
    fn log(&self) {
        let level = match (self.quiet, self.verbose) {
            (true, _) => tracing::Level::ERROR,
            (_, 0) => tracing::Level::WARN,
            _ => tracing::Level::INFO,
        };
        let log = tracing_subscriber::fmt().with_max_level(level).with_target(false).with_writer(|| Hidden);
        // Another one that was there before stays.
        let _ = if self.json { log.json().flatten_event(true).try_init() } else { log.try_init() };
    }
}

/// Standard error, without credentials.
struct Hidden;

impl Write for Hidden {
    /// A whole message at a time.
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        // A closed standard error must not end the work.
        let _ = io::stderr().write_all(hide(&String::from_utf8_lossy(message)).as_bytes());
        Ok(message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How long live streams have to come to their end after a signal.
const GRACE: Duration = Duration::from_millis(2_800);

/// Ends the process here and now, without what libraries do at the end.
fn leave(exit: Exit) -> ! {
    #[cfg(unix)]
    // SAFETY: _exit takes any number, and does not return.
    unsafe {
        nix::libc::_exit(exit as i32)
    }
    #[cfg(not(unix))]
    std::process::exit(exit as i32)
}

/// Runs the program; errors are printed here and nowhere else.
pub fn main() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // What is wrong may be behind the option, so it is looked for by hand.
            let words: Vec<_> = std::env::args_os().collect();
            let json =
                words.iter().any(|w| w == "--log=json") || words.windows(2).any(|w| w[0] == "--log" && w[1] == "json");
            if json && e.use_stderr() {
                let voice = Voice { quiet: false, verbose: 0, json, bars: None };
                voice.say("error", e.to_string().trim_end().trim_start_matches("error: "));
                return Exit::Usage;
            }
            let _ = e.print();
            return if e.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    let interrupt = Interrupt::new();
    let flag = interrupt.clone();
    let watches = matches!(cli.command, Command::Live(_));
    // The first signal asks the stages to stop; the second does not wait for them.
    let _ = ctrlc::set_handler(move || {
        if flag.is_set() {
            leave(Exit::Interrupted);
        }
        flag.set();
        // Whoever watches streams is gone within 3 s, whatever is still going on.
        if watches {
            let _ = std::thread::Builder::new().spawn(|| {
                std::thread::sleep(GRACE);
                leave(Exit::Interrupted)
            });
        }
    });
    let mut voice = Voice { quiet: cli.quiet, verbose: cli.verbose, json: cli.log == LogFormat::Json, bars: None };
    if cli.verbose > 1 && cli.log == LogFormat::Text {
        crate::media::print_warnings();
    }
    let result = match cli.command {
        Command::Describe(args) => describe(&args, &mut voice, &interrupt),
        Command::Index(args) => index::index(&args, &voice, &interrupt),
        Command::Archive { command } => archive::run(&command, &voice, &interrupt),
        Command::Live(args) => live(&args, &voice, &interrupt),
        Command::Part(args) => parts::part(&args, &voice, &interrupt),
        Command::Stitch(args) => parts::stitch(&args, &voice, &interrupt),
        Command::Probe { inputs, json } => probe_all(&inputs, json, &voice, &interrupt),
        Command::Caption(args) => caption(&args, &voice, &interrupt),
        Command::Embed { text: true, model, .. } => embed_texts(&model),
        Command::Embed { inputs, stats, model, .. } => embed(&inputs, stats, &model, &voice, &interrupt),
        Command::Search(args) => search::search(&args, &voice, &interrupt),
        Command::Model { command: ModelCommand::Show { dir } } => show(dir.as_deref()),
    };
    voice.bars = None;
    let exit = match result {
        Ok(exit) => exit,
        Err(e) => {
            voice.error(&e);
            Exit::of(&e)
        }
    };
    // A thread may be left that nothing can interrupt: the libraries it is in must not wait for it.
    if watches { leave(exit) } else { exit }
}

impl ModelArgs {
    fn session(&self, shared: bool) -> Result<SessionOptions> {
        let cores = cores();
        let threads = self.model_threads.unwrap_or(if shared { cores.div_ceil(2) } else { cores });
        let device: Device = self.device.parse()?;
        Ok(SessionOptions { threads, device, ..SessionOptions::default() })
    }
}

impl DecodingArgs {
    /// Most pictures in one model run.
    fn batch(&self) -> usize {
        usize::from(self.batch.unwrap_or(4))
    }

    fn options(&self, batch: usize, session: &SessionOptions) -> CaptionOptions {
        CaptionOptions {
            beam: self.beam,
            greedy: self.greedy,
            sample: self.sample,
            max_tokens: self.max_tokens,
            batch,
            session: session.clone(),
            ..CaptionOptions::default()
        }
    }

    fn min_score(&self, folder: &ModelFolder) -> Result<f32> {
        match self.min_score {
            Some(s) if (0.0..=1.0).contains(&s) => Ok(s),
            Some(s) => Err(Error::usage(format!("--min-score {s} is not between 0 and 1"), "0 says everything.")),
            None => Ok(folder.manifest().score.as_ref().map_or(0.0, |s| s.default_min_score)),
        }
    }
}

impl Describing {
    /// What no film could be described with.
    fn check(&self) -> Result<()> {
        if let (Some(start), Some(end)) = (self.start, self.end)
            && end <= start
        {
            return Err(Error::usage("--end is not after --start", "Give an end that lies after the start."));
        }
        if !(self.reading_speed.is_finite() && self.reading_speed > 0.0) {
            return Err(Error::usage("--reading-speed must be above 0", "17 characters a second is usual."));
        }
        self.hwaccel.as_deref().map_or(Ok(()), check_device)
    }

    fn config(&self, folder: &ModelFolder) -> Result<Config> {
        let measured = DedupOptions::measured(folder.manifest().dedup.as_ref());
        let dedup = if self.no_dedup {
            DedupOptions::off()
        } else {
            DedupOptions {
                same: self.same.unwrap_or(measured.same),
                returning: self.returning.unwrap_or(measured.returning),
                ..measured
            }
        };
        let defaults = SceneOptions::default();
        let (ratio, threshold) = match self.scenes {
            Scenes::Content => (defaults.ratio, self.threshold.unwrap_or(defaults.threshold)),
            _ => (self.threshold.unwrap_or(defaults.ratio), defaults.threshold),
        };
        Ok(Config {
            decode: DecodeOptions {
                start: self.start,
                end: self.end,
                keyframes_only: self.mode == Mode::Keyframes,
                threads: self.decode_threads(),
                hwaccel: self.hwaccel.clone(),
                max_pixels: self.max_pixels,
                timeout: Duration::from_micros(self.timeout.micros().max(1_000) as u64),
                ..DecodeOptions::default()
            },
            scene: SceneOptions {
                detector: match self.scenes {
                    Scenes::Adaptive => Detector::Adaptive,
                    Scenes::Content => Detector::Content,
                    Scenes::Fixed => Detector::Fixed,
                },
                ratio,
                threshold,
                interval: self.interval,
                min_scene: self.min_scene,
                ..defaults
            },
            keyframe: KeyframeOptions { max_gap: self.max_gap },
            dedup,
            cue: CueOptions {
                max_line: usize::from(self.max_line),
                max_lines: usize::from(self.max_lines),
                reading_speed: self.reading_speed,
                min_duration: self.min_duration,
                max_duration: self.max_duration,
            },
            min_score: self.decoding.min_score(folder)?,
            jobs: usize::from(self.jobs),
            encode_batch: self.batch(),
            caption_batch: self.batch(),
            ..Config::default()
        })
    }

    /// Most pictures in one model run, by how fast they come.
    fn batch(&self) -> usize {
        match (self.decoding.batch, self.mode) {
            (None, Mode::Keyframes) => 16,
            _ => self.decoding.batch(),
        }
    }

    /// Decoding keyframes alone is small work: more threads gain little there, and take turns with the model's.
    fn decode_threads(&self) -> usize {
        match (self.decode_threads, self.mode) {
            (0, Mode::Keyframes) => (cores() / 2).max(1),
            (threads, _) => threads,
        }
    }

    /// `threads`: of the model, where that is not the user's or the machine's to say.
    fn model(&self, folder: &ModelFolder, threads: Option<usize>) -> Result<Model> {
        // Of keyframes alone the decoder has little work, and most of it between runs of the model.
        let session = self.model.session(self.mode == Mode::All)?;
        let session = SessionOptions { threads: threads.unwrap_or(session.threads), ..session };
        model(folder, &self.decoding, self.batch(), &session)
    }
}

fn describe(args: &Describe, voice: &mut Voice, interrupt: &Interrupt) -> Result<Exit> {
    args.how.check()?;
    let plan = args.written.plan(&args.inputs)?;
    let mut failed = false;
    let mut inputs = Vec::new();
    let mut targets: Vec<Vec<Target>> = Vec::new();
    for (input, wanted) in args.inputs.iter().zip(plan) {
        match wanted.iter().try_for_each(|t| output::check(t, args.written.force)) {
            Ok(()) => {
                inputs.push(input.clone());
                targets.push(wanted);
            }
            Err(e) => {
                voice.error(&e);
                failed = true;
            }
        }
    }
    if inputs.is_empty() {
        return Ok(Exit::SomeFailed);
    }
    let folder = ModelFolder::load(args.how.model.model.as_deref())?;
    let config = args.how.config(&folder)?;
    let model = args.how.model(&folder, None)?;
    if !voice.quiet && !voice.json && io::stderr().is_terminal() {
        voice.bars = Some(Bars::new(&inputs));
    }
    let voice = &*voice;
    let observer: &dyn Observer = voice.bars.as_ref().map_or(&Silent, |b| b);
    let problems = AtomicU32::new(u32::from(failed));
    let problem = || problems.fetch_add(1, Ordering::Relaxed);
    // One thread owns standard output: tracks for it are written whole, in the order of the inputs.
    let mut held: Vec<Option<crate::track::Track>> = inputs.iter().map(|_| None).collect();
    let mut ended: Vec<bool> = vec![false; inputs.len()];
    let mut printed = 0;
    let job = Job { inputs: &inputs, config: &config, model, interrupt, observer, sink: None };
    let stats = pipeline::run(job, |file, outcome| {
        if let Some(e) = &outcome.error {
            voice.error(e);
            problem();
        }
        if let Some(track) = outcome.track {
            if let Some(damage) = &track.damage {
                voice.warn(&format!("{}: described in part: {damage}", track.input));
                problem();
            }
            if track.cues.is_empty() && track.scenes.iter().any(|s| s.text.is_some()) {
                voice.note(&format!(
                    "{}: nothing is said, for the model was too unsure; --min-score 0 says it all the same",
                    track.input
                ));
            }
            let mut print = false;
            for target in &targets[file] {
                if matches!(target, Target::Stdout(_)) {
                    print = true;
                    continue;
                }
                match output::save(&track, target, args.written.force) {
                    Ok(()) => {
                        if let Target::File(path, _) = target {
                            voice.info(&format!("{} → {}, {} cues", track.input, path.display(), track.cues.len()));
                        }
                    }
                    Err(e) => {
                        voice.error(&e);
                        problem();
                    }
                }
            }
            if print {
                held[file] = Some(track);
            }
        }
        ended[file] = true;
        while printed < ended.len() && ended[printed] {
            if let Some(track) = held[printed].take() {
                for target in &targets[printed] {
                    if let Err(e) = output::save(&track, target, args.written.force) {
                        voice.error(&e);
                        problem();
                    }
                }
            }
            printed += 1;
        }
    });
    for (track, wanted) in held.into_iter().zip(&targets) {
        if let Some(track) = track {
            let wanted = wanted.iter().filter(|t| matches!(t, Target::Stdout(_)));
            wanted.into_iter().try_for_each(|t| output::save(&track, t, args.written.force))?;
        }
    }
    let stats = stats?;
    if args.stats {
        tell(&stats, voice);
    }
    Ok(if interrupt.is_set() {
        Exit::Interrupted
    } else if problems.load(Ordering::Relaxed) > 0 {
        Exit::SomeFailed
    } else {
        Exit::Done
    })
}

/// Watches streams until they end or are interrupted.
fn live(args: &Live, voice: &Voice, interrupt: &Interrupt) -> Result<Exit> {
    if args.status {
        return status(args);
    }
    voice.log();
    let asked = LiveConfig {
        transport: args.transport,
        realtime: args.realtime.then_some(true),
        silence: args.silence,
        max_gap: args.max_gap,
        every: args.every,
        min_interval: args.min_interval,
        decode_threads: args.decode_threads,
        hang: args.hang,
        ..LiveConfig::default()
    };
    let file = args.config.as_deref().map(LiveConfig::read).transpose()?;
    let streams = asked.streams(file.as_ref(), &args.urls)?;
    let folder = ModelFolder::load(args.model.model.as_deref())?;
    let session = args.model.session(true)?;
    let measured = DedupOptions::measured(folder.manifest().dedup.as_ref());
    let options = LiveOptions {
        dedup: DedupOptions {
            same: args.same.unwrap_or(measured.same),
            returning: args.returning.unwrap_or(measured.returning),
            ..measured
        },
        min_score: args.decoding.min_score(&folder)?,
        batch: args.decoding.batch(),
        max_pixels: args.max_pixels,
        hang: asked.hang(file.as_ref())?,
    };
    let model = model(&folder, &args.decoding, args.decoding.batch(), &session)?;
    let mut job = LiveJob { options, ..LiveJob::new(streams, model) };
    let outputs = args.outputs.clone().or(file.map(|f| f.outputs).unwrap_or_default());
    job.outputs = outputs.open(&job.names(), &job.metrics)?;
    let summary = live::run(job, interrupt)?;
    Ok(match summary {
        _ if interrupt.is_set() => Exit::Interrupted,
        LiveSummary { failed: 0 } => Exit::Done,
        _ => Exit::SomeFailed,
    })
}

/// What a run that has a page says of itself.
fn status(args: &Live) -> Result<Exit> {
    let file = args.config.as_deref().map(LiveConfig::read).transpose()?;
    let outputs = args.outputs.clone().or(file.map(|f| f.outputs).unwrap_or_default());
    let address = outputs.http.unwrap_or(HttpOptions::default().listen).to_string();
    let status = fetch_status(&address, outputs.http_token().as_deref(), STATUS)?;
    print(&serde_json::to_string_pretty(&status).unwrap_or_default())?;
    Ok(Exit::Done)
}

/// Both halves of a model, which load when their stages begin.
fn model(folder: &ModelFolder, decoding: &DecodingArgs, batch: usize, session: &SessionOptions) -> Result<Model> {
    Model::of(folder, encode(batch, session), decoding.options(batch, session))
}

fn encode(batch: usize, session: &SessionOptions) -> EncodeOptions {
    // Captions of many pictures share one reading of the weights; a tower does no better with more than what caches hold.
    let encode = EncodeOptions { session: session.clone(), ..EncodeOptions::default() };
    EncodeOptions { batch: encode.batch.min(batch), ..encode }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What `--stats` prints.
fn tell(stats: &pipeline::Stats, voice: &Voice) {
    let mut value = serde_json::to_value(stats).unwrap_or_default();
    value["peak_rss_mb"] = json!(peak_rss_mb());
    let line = if voice.json { json!({ "level": "info", "message": "stats", "stats": value }) } else { value };
    voice.line(&line.to_string());
}

/// Peak resident memory of this process, in MB, where the system says.
fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kb| kb / 1024.0)
}

/// Prints a line on standard output; false where nobody reads any more.
fn print(line: &str) -> Result<bool> {
    match writeln!(io::stdout().lock(), "{line}") {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Error::output("standard output", e.to_string(), "Check where it is written to.")),
    }
}

fn probe_all(inputs: &[String], json: bool, voice: &Voice, interrupt: &Interrupt) -> Result<Exit> {
    let mut exit = Exit::Done;
    for input in inputs {
        match probe(input, &DecodeOptions::default(), interrupt.clone()) {
            Ok(p) => {
                let line = if json { serde_json::to_string(&p).unwrap_or_default() } else { p.to_string() };
                if !print(&line)? {
                    return Ok(exit);
                }
            }
            Err(Error::Interrupted) => return Ok(Exit::Interrupted),
            Err(e) => {
                voice.error(&e);
                exit = Exit::SomeFailed;
            }
        }
    }
    Ok(exit)
}

/// Pictures of the paths, folders opened one level deep, in order of name.
fn pictures(inputs: &[PathBuf], voice: &Voice) -> (Vec<PathBuf>, bool) {
    let (mut all, mut clean) = (Vec::new(), true);
    for input in inputs {
        if !input.is_dir() {
            all.push(input.clone());
            continue;
        }
        let inside = std::fs::read_dir(input).map(|entries| {
            let mut found: Vec<PathBuf> =
                entries.filter_map(|e| e.ok().map(|e| e.path())).filter(|p| picture::is_picture(p)).collect();
            found.sort();
            found
        });
        match inside {
            Ok(found) if found.is_empty() => {
                clean = false;
                voice.error(&Error::input(input.display().to_string(), "holds no pictures", "Name another folder."));
            }
            Ok(found) => all.extend(found),
            Err(e) => {
                clean = false;
                voice.error(&Error::input(input.display().to_string(), e.to_string(), "Make the folder readable."));
            }
        }
    }
    (all, clean)
}

fn caption(args: &Caption, voice: &Voice, interrupt: &Interrupt) -> Result<Exit> {
    let folder = ModelFolder::load(args.model.model.as_deref())?;
    let session = args.model.session(false)?;
    let batch = args.decoding.batch();
    let min_score = args.decoding.min_score(&folder)?;
    let encode = encode(batch, &session).side_by_side(&folder);
    let model = Model::of(&folder, encode, args.decoding.options(batch, &session))?;
    let (paths, clean) = pictures(&args.inputs, voice);
    let mut exit = if clean { Exit::Done } else { Exit::SomeFailed };
    let options = StillOptions { batch, readers: cores().min(batch) };
    let stats = pipeline::stills(&paths, options, model, interrupt, |number, still| {
        let (encoded, c) = match still {
            Ok(still) => still,
            Err(e) => {
                voice.error(&e);
                exit = Exit::SomeFailed;
                return Ok(true);
            }
        };
        let said = c.score.is_none_or(|s| s >= min_score);
        let path = paths[number].display();
        let line = if args.json {
            let mut object = json!({ "image": path.to_string(), "text": c.text, "ids": c.ids, "score": c.score,
                "mean_logprob": c.mean_logprob, "said": said });
            if args.embedding {
                object["embedding"] = json!(encoded.unit());
            }
            object.to_string()
        } else {
            // A language model may say line breaks and tabs; here they would part one picture's line.
            let words: Vec<&str> = c.text.split_whitespace().collect();
            format!("{path}\t{}", if said { words.join(" ") } else { String::new() })
        };
        print(&line)
    })?;
    if args.stats {
        tell(&stats, voice);
    }
    Ok(if interrupt.is_set() { Exit::Interrupted } else { exit })
}

fn embed(inputs: &[PathBuf], stats: bool, args: &ModelArgs, voice: &Voice, interrupt: &Interrupt) -> Result<Exit> {
    let folder = ModelFolder::load(args.model.as_deref())?;
    let session = args.session(false)?;
    let encode = EncodeOptions { session, ..EncodeOptions::default() }.side_by_side(&folder);
    let batch = encode.batch * encode.sessions;
    let model = Model::of(&folder, encode, CaptionOptions::default())?;
    let (paths, clean) = pictures(inputs, voice);
    let mut exit = if clean { Exit::Done } else { Exit::SomeFailed };
    let options = StillOptions { batch, readers: cores() };
    let told = pipeline::embeddings(&paths, options, model, interrupt, |number, encoded| match encoded {
        Ok(e) => print(&json!({ "image": paths[number].display().to_string(), "embedding": e.unit() }).to_string()),
        Err(e) => {
            voice.error(&e);
            exit = Exit::SomeFailed;
            Ok(true)
        }
    })?;
    if stats {
        tell(&told, voice);
    }
    Ok(if interrupt.is_set() { Exit::Interrupted } else { exit })
}

fn embed_texts(args: &ModelArgs) -> Result<Exit> {
    let folder = ModelFolder::load(args.model.as_deref())?;
    let mut encoder = TextEncoder::new(&folder, &args.session(false)?)?;
    let mut lines = io::stdin().lock().lines();
    loop {
        let some: Vec<String> = lines
            .by_ref()
            .take(64)
            .collect::<io::Result<_>>()
            .map_err(|e| Error::input("standard input", e.to_string(), "Give texts as UTF-8, one a line."))?;
        if some.is_empty() {
            return Ok(Exit::Done);
        }
        let texts: Vec<&str> = some.iter().map(String::as_str).collect();
        for (text, embedding) in texts.iter().zip(encoder.embed(&texts)?) {
            if !print(&json!({ "text": text, "embedding": embedding }).to_string())? {
                return Ok(Exit::Done);
            }
        }
    }
}

fn show(dir: Option<&str>) -> Result<Exit> {
    print(&ModelFolder::load(dir)?.to_string())?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn moments_are_read() {
        assert_eq!(moment("1.5"), Ok(Time::from_millis(1_500)));
        assert_eq!(moment("1:02.5"), Ok(Time::from_millis(62_500)));
        assert_eq!(moment("1:00:00"), Ok(Time::from_millis(3_600_000)));
        for bad in ["", "x", "-1", "1:2:3:4", "NaN", "inf"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }
}
