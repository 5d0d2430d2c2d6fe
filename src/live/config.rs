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
use super::unquoted::unquoted;
use crate::address::{Address, NO_SLASHES, hide};
use crate::error::{Error, Result};
use crate::limited_file::read_text;
use crate::media::{AccessPolicy, Authorities};
use crate::message;
use crate::message::Setting;
use crate::model::{PromptOptions, PromptSource};
use crate::printable::printable;
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
    /// Decoder threads, at most 64. 0 for as many as need not hold frames back. Default: 0.
    pub decode_threads: usize,
    /// What the stream may reach on the network. Default: see [`AccessPolicy`].
    pub access: AccessPolicy,
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
        let access = self.access(file, (entry.allow_private, entry.insecure, entry.ca.as_deref()))?;
        let decode_threads = entry.decode_threads.or(self.decode_threads).or(file.decode_threads).unwrap_or(0);
        Ok(StreamConfig {
            kind,
            transport: entry.transport.or(self.transport).or(file.transport).unwrap_or_default(),
            silence: Duration::from_micros(silence.unwrap_or(SILENCE).micros().max(0) as u64),
            // A scene that is to be described again needs a keyframe by then.
            watcher: WatcherOptions { max_gap: every.map_or(max_gap, |e| e.min(max_gap)) },
            every,
            min_interval: min_interval.unwrap_or(MIN_INTERVAL),
            decode_threads: decode_threads.min(MOST_THREADS),
            access,
            prompt,
            name: name.into(),
            address,
        })
    }
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
mod tests {
    use super::*;
    use crate::live::access::access;
    use crate::media::StreamAccess;

    fn read(toml: &str) -> Result<Vec<StreamConfig>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("streams.toml");
        std::fs::write(&path, toml).unwrap();
        let file = LiveConfig::read(&path)?;
        LiveConfig::default().streams(Some(&file), &[])
    }

    fn option<'a>(access: &'a StreamAccess, name: &str) -> Option<&'a str> {
        access.options.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str())
    }

    #[test]
    fn a_file_has_streams_and_settings_for_all() {
        let streams = read(
            "max_gap = 4\nmin_interval = 0\n[[stream]]\nurl = 'rtsp://u:passw0rd@cam:554/door'\n[[stream]]\nname = 'yard'\n\
             url = 'rtsp://cam/yard'\ntransport = 'udp'\nevery = 2.5\n",
        )
        .unwrap();
        assert_eq!(streams.iter().map(|s| &*s.name).collect::<Vec<_>>(), ["cam:554/door", "yard"]);
        assert_eq!(streams[0].watcher.max_gap, Time::from_millis(4_000));
        assert_eq!(streams[1].watcher.max_gap, Time::from_millis(2_500));
        assert_eq!(streams[1].min_interval, Time::ZERO);
        let second = access(&streams[1]);
        assert_eq!(option(&second, "rtsp_transport"), Some("udp"));
        assert_eq!(option(&access(&streams[0]), "protocol_whitelist"), Some("rtsp,rtp,tcp"));
        assert_eq!(option(&access(&streams[0]), "fflags"), Some("+genpts+discardcorrupt"));
    }

    #[test]
    fn each_stream_may_have_its_own_prompt() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("door.txt");
        std::fs::write(&path, "Who is at the door?\n").unwrap();
        let toml = format!(
            "language = 'Dutch'\ncontext = 2\n[[stream]]\nurl = 'rtsp://h/a'\nprompt_file = '{}'\ncontext = 0\n\
             [[stream]]\nurl = 'rtsp://h/b'\nlanguage = 'French'\n",
            path.display()
        );
        let prompts: Vec<_> = read(&toml).unwrap().into_iter().map(|s| s.prompt.unwrap()).collect();
        assert_eq!((prompts[0].text.as_str(), prompts[0].language.as_deref()), ("Who is at the door?", Some("Dutch")));
        assert_eq!((prompts[0].context, prompts[1].context), (0, 2));
        assert_eq!(prompts[1].language.as_deref(), Some("French"));
        let urls = ["rtsp://h/a".into()];
        assert_eq!(LiveConfig::default().streams(None, &urls).unwrap()[0].prompt, None);
        // The command line comes between the file and its streams.
        let line = LiveConfig { language: Some("Greek".into()), context: Some(1), ..LiveConfig::default() };
        let file = LiveConfig { language: Some("Dutch".into()), prompt: Some("Why?".into()), ..LiveConfig::default() };
        let prompt = line.streams(Some(&file), &urls).unwrap().remove(0).prompt.unwrap();
        assert_eq!((prompt.text.as_str(), prompt.language.as_deref(), prompt.context), ("Why?", Some("Greek"), 1));
    }

    #[test]
    fn wrong_prompts_are_refused_with_the_file_and_the_stream() {
        for (line, wanted) in [
            ("prompt = ' '", "the prompt is empty"),
            ("prompt = 'a'\nprompt_file = 'b'", "a prompt and a file with a prompt are given"),
            ("prompt_file = 'nowhere/b.txt'", "nowhere/b.txt: no such file"),
            ("notes = 'nowhere/n.txt'", "nowhere/n.txt: no such file"),
            ("language = ''", "the language has no name"),
            ("context = 21", "`context` 21 is out of range"),
        ] {
            let error =
                read(&format!("[[stream]]\nurl = 'rtsp://h/x'\nname = 'door'\n{line}")).unwrap_err().to_string();
            assert!(error.contains(&format!("streams.toml: stream door: {wanted}")), "{line}: {error}");
        }
    }

    #[test]
    fn each_stream_may_have_its_own_policy() {
        let ca = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls/ca.pem");
        let toml = format!(
            "ca = '{}'\n[[stream]]\nurl = 'https://h/a'\n[[stream]]\nurl = 'https://h/b'\ninsecure = true\n\
             [[stream]]\nurl = 'https://h/c'\nallow_private = true\n",
            ca.display()
        );
        let policies: Vec<_> = read(&toml).unwrap().into_iter().map(|s| s.access).collect();
        assert!(!policies[0].insecure && !policies[0].allow_private && policies[0].authorities.is_some());
        assert!(policies[1].insecure && policies[1].authorities.is_none());
        assert!(policies[2].allow_private && !policies[2].insecure);
        let wrong = read("ca = 'nowhere.pem'\n[[stream]]\nurl = 'https://h/a'\n").unwrap_err().to_string();
        assert!(wrong.contains("nowhere.pem: cannot be read"), "{wrong}");
    }

    #[test]
    fn the_example_is_valid() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/service/streams.toml");
        let file = LiveConfig::read(&path).unwrap();
        assert_eq!(LiveConfig::default().streams(Some(&file), &[]).unwrap().len(), 2);
        assert!(file.outputs.http.unwrap().ip().is_loopback());
    }

    #[test]
    fn wrong_files_are_refused_without_quoting_them() {
        for (toml, wanted) in [
            ("", "no stream is named"),
            ("[[stream]]\nurl = 'gopher://host/x'", "gopher"),
            ("[[stream]]\nurl = 'film.mp4'", "is a file"),
            ("[[stream]]\nurl = 'rtsp://h/x'\nname = 'a'\n[[stream]]\nurl = 'rtsp://h/y'\nname = 'a'", "two streams"),
            ("[[stream]]\nurl = 'rtsp://h/x'\nsilence = 0.0", "out of range"),
            ("[[stream]]\nurl = 'rtsp://h/x'\nevery = nan", "out of range"),
            ("[[stream]]\nurl = 'rtsp://h/x'\nname = ''", "1 to 100"),
            ("[[stream]]\nurl = 'rtsp://u:t0p-secret@h/x'\nnmae = 'a'", ":3: unknown field"),
            ("[[stream]]\nurl = 'rtsp://u:t0p-secret@h/x", ":2: "),
            ("[[stream]]\nurl = 'rtsp://u:t0p-secret@h/x'\ndecode_threads = 'rtsp://u:t0p-secret@h'", ":3: "),
            ("stream = 'rtsp://u:t0p-secret@h'", ":1: "),
            ("[outputs]\nhttp_token = 70973263\n", ":2: invalid type: integer …, expected"),
            ("[outputs]\nhttp_token = 70973263.5\n", ":2: invalid type: floating point …, expected"),
            ("[outputs]\nvtt_keep = 'a\"t0p\\\"secret'\n", ":2: invalid type: string …, expected"),
            ("transport = 't0p`secret, expected `t0p'\n", ":1: unknown variant …, expected `tcp` or `udp`"),
            ("\"rtsp://u:t0p`\\n`secret, expected t0p\" = 1\n", ":1: unknown field …, expected one of `transport`"),
            ("[[stream]]\nurl 'rtsp://u:t0p-secret@h'\n", ":2: "),
            ("[[stream]]\nname = 'a'\n", "missing field `url`"),
        ] {
            let error = read(toml).unwrap_err().to_string();
            assert!(error.contains(wanted), "{toml}: {error}");
            assert!(!error.contains("t0p") && !error.contains("secret") && !error.contains("709"), "{error}");
        }
    }

    #[test]
    fn plain_addresses_get_unique_names() {
        let urls = ["rtsp://u:p@cam/a", "rtsp://cam/a", "/dev/video0", "http://h/x.m3u8?k=v"].map(Address::from);
        let streams = LiveConfig::default().streams(None, &urls).unwrap();
        let names: Vec<_> = streams.iter().map(|s| &*s.name).collect();
        assert_eq!(names, ["cam/a", "cam/a (2)", "video0", "h/x.m3u8"]);
        assert_eq!(access(&streams[2]).format, Some("v4l2"));
        assert_eq!(option(&access(&streams[3]), "protocol_whitelist"), Some("data"));
    }
}
