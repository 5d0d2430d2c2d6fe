//! `descry live`: streams in, a description for everything new out.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::access_args::AccessArgs;
use super::args::{BatchArgs, DecoderArgs, RepetitionArgs, encode_options};
use super::decode_args::MAX_PIXELS;
use super::isolate_args::{IsolateArgs, IsolateDefaults};
use super::live_voice_args::LiveVoiceArgs;
use super::model_args::{AnswerArgs, CaptionModelArgs, ContextArgs};
use super::reporter::Reporter;
use super::stdout::print_json_pretty;
use crate::address::Address;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::live::{
    self, CommandLine, HttpOptions, LiveConfig, LiveJob, LiveOptions, LiveSummary, OutputConfig, RtspTransport, Secret,
    fetch_status,
};
use crate::model::{Model, PromptSource};
use crate::ocr::StaticText;

/// How long a running descry may take to answer `--status`.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
Examples:
  descry live rtsp://camera/stream                               A JSON line for everything new
  descry live --config streams.toml                              Several streams, options in a file
  descry live rtsp://camera/door --http 127.0.0.1:8080           Serve a web page
  descry live rtsp://camera/door --command 'espeak-ng --stdin'   Read descriptions aloud
  descry live rtsp://camera/door --voice espeak --voice-play 'aplay -q'   Speak descriptions
  descry live --status                                           State of a running descry";

/// Describe live streams as they happen
///
/// Emits a description whenever a stream shows something new. Reconnects when a source fails, and runs until you stop it.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct LiveArgs {
    /// Streams: rtsp, rtmp, srt, http, https or udp URLs, or /dev/videoN; with --realtime also files
    ///
    /// Other users of this machine can see command lines. Put addresses with passwords into a --config file.
    #[arg(value_name = "URL")]
    urls: Vec<Address>,
    #[command(flatten)]
    stream: StreamArgs,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    output: LiveOutputArgs,
    #[command(flatten)]
    voice: LiveVoiceArgs,
    #[command(flatten)]
    repetition: RepetitionArgs,
    #[command(flatten)]
    decoder: DecoderArgs,
    #[command(flatten)]
    model: CaptionModelArgs,
    #[command(flatten)]
    answer: AnswerArgs,
    #[command(flatten)]
    context: ContextArgs,
    #[command(flatten)]
    batch: BatchArgs,
    /// Treat the model as hung when one inference takes longer than this [default: 30]
    ///
    /// descry then reports itself as unhealthy. After twice this time it exits with 3.
    #[arg(long, help_heading = "Model", value_name = "SECONDS")]
    hang: Option<f64>,
}

/// Which streams are described, and when.
#[derive(Args)]
#[command(next_help_heading = "Streams")]
struct StreamArgs {
    /// TOML file with streams and their options
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Transport of RTSP [default: tcp]
    #[arg(long, value_enum)]
    transport: Option<RtspTransport>,
    /// Accept files too, and play them at their own pace
    #[arg(long)]
    realtime: bool,
    /// Reconnect after this time without a frame [default: 10]
    #[arg(long, value_name = "SECONDS")]
    silence: Option<f64>,
    /// Take another picture when a scene continues for this long [default: 8]
    #[arg(long, value_name = "SECONDS")]
    max_gap: Option<f64>,
    /// Describe a scene that continues again after this time [default: never]
    #[arg(long, value_name = "SECONDS")]
    every: Option<f64>,
    /// Shortest time between two descriptions of a stream [default: 1]
    #[arg(long, value_name = "SECONDS")]
    min_interval: Option<f64>,
    /// Longest time that a description waits until nobody talks; 0: never [default: 3]
    #[arg(long, value_name = "SECONDS")]
    wait_for_pause: Option<f64>,
    /// Audio track in which people talk: its number or its language [default: the one that players choose]
    #[arg(long, value_name = "TRACK")]
    audio: Option<String>,
    /// Read the text that streams show, and describe it when it appears or changes
    #[arg(long)]
    text: bool,
    /// How often to describe text that stays in its place from scene to scene, such as logos [default: once]
    #[arg(long, value_enum, value_name = "once|never", hide_possible_values = true)]
    text_static: Option<StaticText>,
    /// Decoder threads per stream; any number from 1 on delays frames [default: none that delay frames]
    #[arg(long, value_name = "N")]
    decode_threads: Option<usize>,
    /// Refuse streams whose frames have more pixels
    #[arg(long, value_name = "PIXELS", default_value_t = MAX_PIXELS)]
    max_pixels: u64,
    #[command(flatten)]
    isolate: IsolateArgs,
}

/// The outputs. Each is also a key of `[outputs]` in the configuration file.
#[derive(Args)]
#[command(next_help_heading = "Outputs")]
struct LiveOutputArgs {
    /// Print events as JSON lines on standard output (the default without another output)
    #[arg(long)]
    jsonl: bool,
    /// Write a WebVTT file that grows; for several streams, a folder of them
    #[arg(long, value_name = "PATH")]
    vtt: Option<PathBuf>,
    /// Start a new WebVTT file each day (UTC) or at a size such as 10M
    #[arg(long, value_name = "day|SIZE")]
    vtt_rotate: Option<String>,
    /// Old WebVTT files to keep per stream [default: 30]
    #[arg(long, value_name = "N")]
    vtt_keep: Option<usize>,
    /// Continue existing WebVTT files
    #[arg(long)]
    append: bool,
    /// Replace existing files
    #[arg(long, conflicts_with = "append")]
    force: bool,
    /// Write a rolling HLS playlist of subtitles into this folder
    #[arg(long, value_name = "DIR")]
    hls: Option<PathBuf>,
    /// Also write a master playlist that joins the subtitles to this video playlist
    #[arg(long, value_name = "URL")]
    hls_video: Option<Address>,
    /// Length of an HLS segment; it must equal that of the video [default: 2]
    #[arg(long, value_name = "SECONDS")]
    hls_segment: Option<f64>,
    /// Segments in the HLS playlist [default: 10]
    #[arg(long, value_name = "N")]
    hls_window: Option<usize>,
    /// Serve a web page, events, metrics, health and status at this address, such as 127.0.0.1:8080
    ///
    /// Other addresses than those of this machine need a token, in the environment variable DESCRY_HTTP_TOKEN or in the
    /// configuration file.
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// Send each event as a JSON POST to this URL
    ///
    /// The environment variable DESCRY_WEBHOOK_TOKEN, or webhook_token in the configuration file, is sent as a bearer token.
    #[arg(long, value_name = "URL")]
    webhook: Vec<Secret>,
    /// Trust only the certificate authorities in this PEM file for webhooks
    #[arg(long, value_name = "FILE")]
    webhook_ca: Option<PathBuf>,
    /// Run this program for each description, with the text on its standard input
    #[arg(long, value_name = "PROGRAM ARGUMENTS")]
    command: Vec<CommandLine>,
    /// Let that program inherit this environment variable too
    ///
    /// It inherits PATH, HOME, the language, the time zone, and what it needs to reach the user's screen and sound; nothing
    /// else, because the environment may hold keys.
    #[arg(long, value_name = "NAME")]
    command_env: Vec<String>,
    /// Print the state of a running descry as JSON, and exit
    ///
    /// Asks the descry that serves the address of --http, 127.0.0.1:8080 by default.
    #[arg(long)]
    status: bool,
}

impl StreamArgs {
    /// What the command line sets for all streams.
    fn defaults(&self, access: &AccessArgs, hang: Option<f64>, prompt: PromptSource) -> LiveConfig {
        let (allow_private, insecure, ca) = access.keys();
        LiveConfig {
            prompt: prompt.text,
            prompt_file: prompt.file,
            language: prompt.language,
            notes: prompt.notes,
            context: prompt.context,
            transport: self.transport,
            realtime: self.realtime.then_some(true),
            silence: self.silence,
            max_gap: self.max_gap,
            every: self.every,
            min_interval: self.min_interval,
            wait_for_pause: self.wait_for_pause,
            audio: self.audio.clone(),
            text: self.text.then_some(true),
            text_static: self.text_static,
            decode_threads: self.decode_threads,
            allow_private,
            insecure,
            ca,
            hang,
            ..LiveConfig::default()
        }
    }

    fn read_config(&self) -> Result<Option<LiveConfig>> {
        self.config.as_deref().map(LiveConfig::read).transpose()
    }
}

impl LiveOutputArgs {
    /// The outputs of the command line, completed from the configuration file.
    fn or(&self, voice: &LiveVoiceArgs, file: Option<LiveConfig>) -> OutputConfig {
        let outputs = OutputConfig {
            jsonl: self.jsonl,
            vtt: self.vtt.clone(),
            vtt_rotate: self.vtt_rotate.clone(),
            vtt_keep: self.vtt_keep,
            append: self.append,
            force: self.force,
            hls: self.hls.clone(),
            hls_video: self.hls_video.clone(),
            hls_segment: self.hls_segment,
            hls_window: self.hls_window,
            http: self.http,
            webhook: self.webhook.clone(),
            webhook_ca: self.webhook_ca.clone(),
            command: self.command.clone(),
            command_env: self.command_env.clone(),
            // Tokens do not belong on a command line, where every user of the machine can see them.
            http_token: None,
            webhook_token: None,
            ..OutputConfig::default()
        };
        voice.apply(outputs).or(file.map(|f| f.outputs).unwrap_or_default())
    }
}

pub(super) fn run(args: &LiveArgs, reporter: &Reporter, interrupt: &Interrupt) -> Result<()> {
    if args.output.status {
        return print_status(args);
    }
    reporter.start_log();
    let prompt = args.model.prompt(args.context.number(), args.answer.language());
    // What is wrong with it is wrong with no stream of the file.
    prompt.read()?;
    let defaults = args.stream.defaults(&args.access, args.hang, prompt.clone());
    let file = args.stream.read_config()?;
    let streams = defaults.streams(file.as_ref(), &args.urls)?;
    if args.stream.text_static.is_some() && streams.iter().all(|s| s.text.is_none()) {
        let remedy = "Add --text, or a stream with `text = true` in the file.";
        return Err(Error::usage("--text-static: no stream's text is read", remedy));
    }
    let models = args.model.load()?;
    // A stream that names no prompt has the model's own.
    let prompt = prompt.or_own(models.captioner.own_prompt());
    let defaults = args.stream.defaults(&args.access, args.hang, prompt.clone());
    let streams =
        if models.captioner.own_prompt().is_some() { defaults.streams(file.as_ref(), &args.urls)? } else { streams };
    let session = args.model.session(true)?;
    let batch = args.batch.size();
    let isolation = args.stream.isolate.settle(&IsolateDefaults::LIVE, false, reporter)?;
    let options = LiveOptions {
        dedup: args.repetition.options(&models.embedder),
        min_score: args.decoder.min_score(&models)?,
        bars: args.model.picture.bars(),
        batch,
        max_pixels: args.stream.max_pixels,
        isolation: isolation.map(|(isolation, _)| isolation),
        hang: defaults.hang(file.as_ref())?,
    };
    let (encode, caption) = (encode_options(batch, &session, &models.embedder), args.decoder.options(batch, &session));
    let model = Model::of(&models, args.model.options(&models, encode, caption, prompt)?)?;
    let mut job = LiveJob { options, ..LiveJob::new(streams, model) };
    job.settle_prompts()?;
    job.settle_text()?;
    job.outputs = args.output.or(&args.voice, file).open(&job.names(), &job.metrics)?;
    let LiveSummary { failed, incomplete } = live::run(job, interrupt)?;
    if failed + incomplete > 0 {
        reporter.fail();
    }
    Ok(())
}

/// Prints what a running descry with a web page reports about itself.
fn print_status(args: &LiveArgs) -> Result<()> {
    let outputs = args.output.or(&args.voice, args.stream.read_config()?);
    let address = outputs.http.unwrap_or(HttpOptions::default().listen).to_string();
    let status = fetch_status(&address, outputs.http_token().as_deref(), STATUS_TIMEOUT)?;
    print_json_pretty(&status)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, CliCommand};

    fn outputs(args: &str) -> OutputConfig {
        match Cli::try_parse_from(["descry", "live"].into_iter().chain(args.split_whitespace())).unwrap().command {
            CliCommand::Live(args) => args.output.or(&args.voice, None),
            _ => unreachable!("the command is live"),
        }
    }

    #[test]
    fn outputs_are_those_of_the_command_line() {
        let all = outputs(
            "--jsonl --vtt v --vtt-rotate day --vtt-keep 3 --append --hls h --hls-video u --hls-segment 4 \
             --hls-window 5 --http 127.0.0.1:0 --webhook http://h/secret --webhook-ca c.pem --command cat --command-env A",
        );
        assert!(all.jsonl && all.append && !all.force);
        assert_eq!((all.vtt, all.hls), (Some("v".into()), Some("h".into())));
        assert_eq!((all.vtt_rotate.as_deref(), all.hls_video), (Some("day"), Some("u".into())));
        assert_eq!((all.vtt_keep, all.hls_window, all.hls_segment), (Some(3), Some(5), Some(4.0)));
        assert_eq!(
            (all.http.map(|a| a.to_string()), all.webhook_ca),
            (Some("127.0.0.1:0".into()), Some("c.pem".into()))
        );
        assert_eq!((all.webhook.len(), all.command.len(), all.command_env), (1, 1, vec!["A".to_string()]));
        assert!(!format!("{:?}", all.webhook).contains("secret"));
        assert!(outputs("--force").force);
    }
}
