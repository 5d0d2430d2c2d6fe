//! Which streams a run reads and how: from the command line or a TOML file, all checked before anything starts.
//!
//! ```toml
//! max_gap = 8                 # for every stream that does not override it
//!
//! [[stream]]
//! name = "door"               # default: host and path of the address
//! url = "rtsp://user:password@camera/door"
//! transport = "udp"           # RTSP: tcp (default) or udp
//! min_interval = 5            # seconds
//! prompt = "Who is at the door?"
//! ```
//!
//! [`OutputConfig`] is the `[outputs]` table.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::outputs::OutputConfig;
use super::source::{RtspTransport, SourceKind};
use crate::address::{Address, NO_SLASHES, hide};
use crate::error::{Error, Result};
use crate::limited_file::read_text;
use crate::media::{AccessPolicy, Authorities, SideTrack, TrackChoice};
use crate::message;
use crate::message::Setting;
use crate::model::{PromptOptions, PromptSource};
use crate::ocr::StaticText;
use crate::printable::{printable, unquoted};
use crate::scene::WatcherOptions;
use crate::time::Time;

/// Most streams in one process: each needs a thread and a decoder.
const MOST_STREAMS: usize = 256;
/// Largest configuration, in bytes: 256 streams with long prompts have a quarter of it.
const MOST_CONFIG: u64 = 4 << 20;
/// Longest name of a stream, in bytes of a given name and in characters of a derived one.
const LONGEST_NAME: usize = 100;
/// Decoder threads beyond this are of no use.
const MOST_THREADS: usize = 64;
/// No setting is longer than this, in seconds.
const LONGEST: f64 = 1e6;
/// Without a frame for this long a connection is given up.
const SILENCE: Time = Time::from_millis(10_000);
/// Least time between two descriptions.
const MIN_INTERVAL: Time = Time::from_millis(1_000);
/// How long a description waits for a pause, unless the user says otherwise, and at most.
const WAIT_FOR_PAUSE: Time = Time::from_millis(3_000);
const LONGEST_WAIT: f64 = 60.0;
/// How long one inference may take.
const HANG: Duration = Duration::from_secs(30);

/// One stream, checked and ready to be opened.
#[derive(Debug, Clone)]
pub struct StreamConfig {
    /// Unique in the run, and safe to show.
    pub name: Arc<str>,
    /// Where the stream is.
    pub address: Address,
    /// What the address is.
    pub kind: SourceKind,
    /// How RTSP delivers its packets. Default: TCP.
    pub transport: RtspTransport,
    /// A connection without a frame for this long is given up. Default: 10 s.
    pub silence: Duration,
    /// When to choose a keyframe.
    pub watcher: WatcherOptions,
    /// A scene that continues is described again after this. Default: never.
    pub every: Option<Time>,
    /// Least time between two descriptions. Default: 1 s.
    pub min_interval: Time,
    /// How long a description waits at most until nobody talks; zero for not at all. Default: 3 s.
    pub wait_for_pause: Duration,
    /// In which track of sound people talk. Default: the one that players choose.
    pub audio: TrackChoice,
    /// Decoder threads, at most 64. 0 for as many as need not hold frames back. Default: 0.
    pub decode_threads: usize,
    /// What the stream may reach on the network. Default: see [`AccessPolicy`].
    pub access: AccessPolicy,
    /// Whether the text is read that the stream shows, and what is said about text that is static. Default: it is not read.
    pub text: Option<StaticText>,
    /// What the model is asked about this stream. Default: what it is asked about all streams.
    pub prompt: Option<PromptOptions>,
}

/// Settings of one stream in the TOML file. Times are in seconds.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamEntry {
    url: Address,
    name: Option<String>,
    transport: Option<RtspTransport>,
    realtime: Option<bool>,
    silence: Option<f64>,
    max_gap: Option<f64>,
    every: Option<f64>,
    min_interval: Option<f64>,
    wait_for_pause: Option<f64>,
    audio: Option<String>,
    text: Option<bool>,
    text_static: Option<StaticText>,
    decode_threads: Option<usize>,
    allow_private: Option<bool>,
    insecure: Option<bool>,
    ca: Option<PathBuf>,
    prompt: Option<String>,
    prompt_file: Option<PathBuf>,
    language: Option<String>,
    notes: Option<PathBuf>,
    context: Option<usize>,
}

/// The TOML file, or the command line that overrides it. Settings hold for every stream that does not override them. Times
/// are in seconds.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveConfig {
    /// How RTSP delivers its packets.
    pub transport: Option<RtspTransport>,
    /// Plays files at their own pace.
    pub realtime: Option<bool>,
    /// A connection without a frame for this long is given up; from 0.5.
    pub silence: Option<f64>,
    /// A keyframe is chosen at least this often; from 0.1.
    pub max_gap: Option<f64>,
    /// A scene that continues is described again after this; from 0.1.
    pub every: Option<f64>,
    /// Least time between two descriptions; from 0.
    pub min_interval: Option<f64>,
    /// How long a description waits for a pause; from 0 to 60.
    pub wait_for_pause: Option<f64>,
    /// Audio track in which people talk: its number or its language.
    pub audio: Option<String>,
    /// Reads the text that streams show.
    pub text: Option<bool>,
    /// How often text that is static is described.
    pub text_static: Option<StaticText>,
    /// Decoder threads of each stream.
    pub decode_threads: Option<usize>,
    /// Lets redirects and playlists lead to addresses that are not public.
    pub allow_private: Option<bool>,
    /// Accepts any certificate.
    pub insecure: Option<bool>,
    /// PEM file of authorities to trust besides the public ones.
    pub ca: Option<PathBuf>,
    /// What to ask a model that takes a prompt.
    pub prompt: Option<String>,
    /// File with the prompt, instead of `prompt`.
    pub prompt_file: Option<PathBuf>,
    /// Language of the answers.
    pub language: Option<String>,
    /// File with notes for the prompt.
    pub notes: Option<PathBuf>,
    /// Earlier descriptions of a stream in its prompts, at most 20.
    pub context: Option<usize>,
    /// Of the whole run: an inference that takes longer counts as hung; from 1.
    pub hang: Option<f64>,
    /// The `[outputs]` table.
    #[serde(default)]
    pub outputs: OutputConfig,
    /// The `[[stream]]` tables.
    #[serde(default, rename = "stream")]
    pub streams: Vec<StreamEntry>,
    /// The file that it was read from, for messages.
    #[serde(skip)]
    pub path: Option<PathBuf>,
}

impl StreamConfig {
    /// The stream at this address, with the default settings. A file plays at its own pace.
    ///
    /// # Errors
    /// When descry cannot read such an address.
    pub fn new(address: impl Into<Address>) -> Result<StreamConfig> {
        let entry = StreamEntry { url: address.into(), realtime: Some(true), ..StreamEntry::default() };
        LiveConfig::default().stream(&LiveConfig::default(), entry, &mut HashSet::new())
    }

    /// What is read beside the pictures. `wants_audio`: whether an output wants the audio.
    pub(super) fn side_track(&self, wants_audio: bool) -> SideTrack {
        let is_wanted = wants_audio || !self.wait_for_pause.is_zero();
        if is_wanted { SideTrack::Audio(self.audio.clone()) } else { SideTrack::Nothing }
    }
}

impl LiveConfig {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// When it cannot be read or is wrong. The message names the line and never quotes it: it may hold a password.
    pub fn read(path: &Path) -> Result<LiveConfig> {
        let shown = path.display();
        let text = read_text(path, MOST_CONFIG).map_err(|e| {
            Error::usage(format!("{shown}: cannot be read: {e}"), "Name a TOML file that this user may read.")
                .with_source(e)
        })?;
        let file: LiveConfig = toml::from_str(&text).map_err(|e| {
            let line = e.span().map(|s| text[..s.start.min(text.len())].matches('\n').count() + 1);
            let line = line.map_or(String::new(), |n| format!(":{n}"));
            // What the parser quotes was in the file.
            let cause = hide(&unquoted(e.message()));
            Error::usage(format!("{shown}{line}: {cause}"), "docs/live.md lists what a configuration may hold.")
        })?;
        Ok(LiveConfig { path: Some(path.to_path_buf()), ..file })
    }

    fn prompt(&self) -> PromptSource {
        PromptSource {
            text: self.prompt.clone(),
            file: self.prompt_file.clone(),
            language: self.language.clone(),
            notes: self.notes.clone(),
            context: self.context,
        }
    }

    /// How long one inference may take. `self` overrides `file`.
    ///
    /// # Errors
    /// When the value is out of range.
    pub fn hang(&self, file: Option<&LiveConfig>) -> Result<Duration> {
        match self.hang.or(file.and_then(|f| f.hang)) {
            None => Ok(HANG),
            Some(s) if (1.0..=LONGEST).contains(&s) => Ok(Duration::from_secs_f64(s)),
            Some(s) => Err(Error::usage(format!("hang = {s} is out of range"), "Give seconds, from 1 to 1000000.")),
        }
    }

    /// All streams: those of the file, then `urls`. `self` overrides the settings of `file` that hold for all streams.
    ///
    /// # Errors
    /// When there is no stream, when there are more than 256, or when a setting is wrong.
    pub fn streams(&self, file: Option<&LiveConfig>, urls: &[Address]) -> Result<Vec<StreamConfig>> {
        let named = file.map_or(&[][..], |f| &f.streams[..]).iter().cloned();
        let plain = urls.iter().map(|url| StreamEntry { url: url.clone(), ..StreamEntry::default() });
        let nothing = LiveConfig::default();
        let file = file.unwrap_or(&nothing);
        let mut names = HashSet::new();
        let streams = named.chain(plain).map(|entry| self.stream(file, entry, &mut names));
        let streams = streams.collect::<Result<Vec<StreamConfig>>>()?;
        if streams.is_empty() {
            return Err(Error::usage(
                "no stream is named",
                message!["Name a URL, or a ", Setting::Config, " file that has a [[stream]]."],
            ));
        }
        if streams.len() > MOST_STREAMS {
            return Err(Error::usage(
                format!("{} streams are more than the {MOST_STREAMS} that one process can read", streams.len()),
                "Divide them among several processes.",
            ));
        }
        Ok(streams)
    }

    /// The policy of a stream whose own keys are `entry`.
    fn access(&self, file: &LiveConfig, entry: (Option<bool>, Option<bool>, Option<&Path>)) -> Result<AccessPolicy> {
        let (allow_private, insecure, ca) = entry;
        let insecure = insecure.or(self.insecure).or(file.insecure).unwrap_or(false);
        let ca = ca.or(self.ca.as_deref()).or(file.ca.as_deref());
        Ok(AccessPolicy {
            allow_private: allow_private.or(self.allow_private).or(file.allow_private).unwrap_or(false),
            insecure,
            authorities: ca.filter(|_| !insecure).map(Authorities::read).transpose()?,
        })
    }

    /// How long descriptions of a stream whose own keys are `entry` wait for a pause, and in which track.
    fn pause(
        &self,
        file: &LiveConfig,
        entry: (Option<f64>, Option<&str>),
        name: &str,
    ) -> Result<(Duration, TrackChoice)> {
        let wait = entry.0.or(self.wait_for_pause).or(file.wait_for_pause);
        let wait = wait.map(|s| time(name, "wait_for_pause", s, 0.0..=LONGEST_WAIT)).transpose()?;
        let audio = entry.1.or(self.audio.as_deref()).or(file.audio.as_deref());
        let audio = audio.map(TrackChoice::parse).transpose().map_err(|remedy| {
            let cause = format!("{name}: its audio track is neither a number nor a language");
            Error::usage(cause, format!("Correct it: {remedy}."))
        })?;
        Ok((duration(wait.unwrap_or(WAIT_FOR_PAUSE)), audio.unwrap_or_default()))
    }

    fn stream(&self, file: &LiveConfig, entry: StreamEntry, names: &mut HashSet<String>) -> Result<StreamConfig> {
        let address = entry.url;
        let kind = SourceKind::of(&address)?;
        if address.reveal().contains('\0') {
            return Err(Error::usage(format!("{address}: the address contains a NUL byte"), "Remove the NUL byte."));
        }
        if kind == SourceKind::File && address.lacks_slashes() && !Path::new(address.reveal()).exists() {
            return Err(Error::usage(format!("{address}: {NO_SLASHES}"), "Write SCHEME://… for an address."));
        }
        let realtime = entry.realtime.or(self.realtime).or(file.realtime).unwrap_or(false);
        if kind == SourceKind::File && !realtime {
            return Err(Error::usage(
                format!("{address} is a file"),
                message!["Use ", Setting::Describe, ", or ", Setting::Realtime, " to play it at its own pace."],
            ));
        }
        let name = unique_name(&address, entry.name, names)?;
        let seconds = |setting, values: [Option<f64>; 3], least| {
            let given = values.into_iter().flatten().next();
            given.map(|s| time(&name, setting, s, least..=LONGEST)).transpose()
        };
        let silence = seconds("silence", [entry.silence, self.silence, file.silence], 0.5)?;
        let every = seconds("every", [entry.every, self.every, file.every], 0.1)?;
        let min_interval = seconds("min_interval", [entry.min_interval, self.min_interval, file.min_interval], 0.0)?;
        let (wait_for_pause, audio) = self.pause(file, (entry.wait_for_pause, entry.audio.as_deref()), &name)?;
        let max_gap = seconds("max_gap", [entry.max_gap, self.max_gap, file.max_gap], 0.1)?;
        let max_gap = max_gap.unwrap_or(WatcherOptions::default().max_gap);
        let prompt = PromptSource {
            text: entry.prompt,
            file: entry.prompt_file,
            language: entry.language,
            notes: entry.notes,
            context: entry.context,
        };
        let prompt = prompt.or(self.prompt()).or(file.prompt()).read().map_err(|e| match &file.path {
            Some(path) => e.at(&format!("{}: stream {name}", path.display())),
            None => e,
        })?;
        let text = entry.text.or(self.text).or(file.text).unwrap_or(false);
        let static_text = entry.text_static.or(self.text_static).or(file.text_static).unwrap_or_default();
        let access = self.access(file, (entry.allow_private, entry.insecure, entry.ca.as_deref()))?;
        let decode_threads = entry.decode_threads.or(self.decode_threads).or(file.decode_threads).unwrap_or(0);
        Ok(StreamConfig {
            kind,
            transport: entry.transport.or(self.transport).or(file.transport).unwrap_or_default(),
            silence: duration(silence.unwrap_or(SILENCE)),
            // A scene that is to be described again needs a keyframe by then.
            watcher: WatcherOptions { max_gap: every.map_or(max_gap, |e| e.min(max_gap)) },
            every,
            min_interval: min_interval.unwrap_or(MIN_INTERVAL),
            wait_for_pause,
            audio,
            decode_threads: decode_threads.min(MOST_THREADS),
            access,
            text: text.then_some(static_text),
            prompt,
            name: name.into(),
            address,
        })
    }
}

fn duration(time: Time) -> Duration {
    Duration::from_micros(time.micros().max(0) as u64)
}

/// A setting in seconds, within its range.
fn time(stream: &str, setting: &str, seconds: f64, range: RangeInclusive<f64>) -> Result<Time> {
    if range.contains(&seconds) {
        return Ok(Time::from_secs(seconds));
    }
    Err(Error::usage(
        format!("{stream}: {setting} = {seconds} is out of range"),
        format!("Give seconds, from {} to {}.", range.start(), range.end()),
    ))
}

/// The name of a stream, and its entry in `names`: the given one, or one derived from the address.
fn unique_name(address: &Address, given: Option<String>, names: &mut HashSet<String>) -> Result<String> {
    let Some(name) = given else {
        let plain = default_name(address);
        let mut unique = plain.clone();
        for n in 2.. {
            if names.insert(unique.clone()) {
                break;
            }
            unique = format!("{plain} ({n})");
        }
        return Ok(unique);
    };
    if name.trim().is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
        return Err(Error::usage(
            format!("{address}: its name must have 1 to {LONGEST_NAME} characters, and no control characters"),
            "Give it another `name`.",
        ));
    }
    if !names.insert(name.clone()) {
        return Err(Error::usage(format!("two streams have the name {name:?}"), "Give one of them another `name`."));
    }
    Ok(name)
}

/// Host and path, or a file's name.
fn default_name(address: &Address) -> String {
    let shown = address.shown();
    let name = match shown.split_once("://") {
        Some((_, rest)) => rest.trim_end_matches(['?', '…', '/']).chars().take(LONGEST_NAME).collect(),
        None => Path::new(&shown).file_name().map_or(shown.clone(), |n| n.to_string_lossy().into_owned()),
    };
    printable(&name).into_owned()
}

#[cfg(test)]
mod tests;
