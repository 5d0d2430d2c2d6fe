//! Which outputs a live run has: from the command line, or the `[outputs]` table of the TOML file.
//!
//! ```toml
//! [outputs]
//! jsonl = true                # default: where there is no other output
//! vtt = "live.vtt"            # a folder for several streams
//! append = true
//! vtt_rotate = "day"          # or a size, such as "10M"
//! vtt_keep = 30               # old files
//! hls = "hls/"
//! hls_video = "video.m3u8"
//! http = "0.0.0.0:8080"
//! http_token = "…"            # or the environment variable DESCRY_HTTP_TOKEN
//! webhook = ["https://host/path"]
//! webhook_token = "…"         # or DESCRY_WEBHOOK_TOKEN
//! webhook_ca = "ca.pem"
//! command = [["espeak-ng", "--stdin"]]
//! command_env = ["ESPEAK_DATA_PATH"]
//! voice = "espeak"            # or voice_command
//! voice_file = "spoken.aac"   # a folder for several streams
//! voice_play = ["aplay", "-q"]
//! ```

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use serde::Deserialize;

use super::http::HttpServer;
use super::hub::Sink;
use super::metrics::Metrics;
use super::sinks::command::{CommandOptions, CommandSink};
use super::sinks::existing::Existing;
use super::sinks::hls::{HlsOptions, HlsSink};
use super::sinks::jsonl::JsonLinesSink;
use super::sinks::vtt::{Rotation, VttSink};
use super::sinks::webhook::{WebhookOptions, WebhookSink};
use super::voice_config::VoiceConfig;
use crate::address::{Address, decode, keep_secret};
use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;
use crate::serve::HttpOptions;
use crate::time::Time;
use crate::track::CueOptions;
use crate::voice::VoicePreset;

/// Old WebVTT files that are kept, unless another number is given.
const KEEP: usize = 30;

/// Shortest path of a secret address that is hidden in every text.
const SECRET_PATH: usize = 8;

/// A text that is never shown: a token, or an address whose path is a secret too.
#[derive(Clone, Deserialize)]
#[serde(from = "String")]
pub struct Secret(String);

impl From<String> for Secret {
    /// Takes a secret, and hides it in every text from now on.
    fn from(secret: String) -> Secret {
        keep_secret(&secret);
        let address = Address::new(&*secret);
        // A short path is a word like any other.
        if let Some(path) = address.url_parts().map(|url| url.path).filter(|path| path.len() >= SECRET_PATH) {
            keep_secret(&decode(path));
        }
        Secret(secret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl FromStr for Secret {
    type Err = Infallible;
    fn from_str(s: &str) -> Result<Secret, Infallible> {
        Ok(Secret::from(s.to_string()))
    }
}

/// A program and its arguments: separated by spaces on the command line, a list in the file. There is no quoting: an argument
/// with a space needs the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct CommandLine(Vec<String>);

impl From<Vec<String>> for CommandLine {
    fn from(words: Vec<String>) -> CommandLine {
        CommandLine(words)
    }
}

impl FromStr for CommandLine {
    type Err = Infallible;
    fn from_str(s: &str) -> Result<CommandLine, Infallible> {
        Ok(CommandLine(s.split_whitespace().map(String::from).collect()))
    }
}

/// The outputs of a run, as configured.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutputConfig {
    /// Write JSON lines to standard output; the default without another output.
    pub jsonl: bool,
    /// Write a growing WebVTT file; a folder for several streams.
    pub vtt: Option<PathBuf>,
    /// Begin a new WebVTT file each day (UTC), or at a size such as 10M.
    pub vtt_rotate: Option<String>,
    /// Keep this many old WebVTT files of each stream [default: 30].
    pub vtt_keep: Option<usize>,
    /// Append to a WebVTT file that exists.
    pub append: bool,
    /// Replace files that exist, even if descry did not write them.
    pub force: bool,
    /// Write a rolling HLS playlist of descriptions into this folder.
    pub hls: Option<PathBuf>,
    /// The video's media playlist, for a master playlist that has both.
    pub hls_video: Option<Address>,
    /// Length of an HLS segment; use the video's [default: 2].
    pub hls_segment: Option<f64>,
    /// Segments in the HLS playlist [default: 10].
    pub hls_window: Option<usize>,
    /// Serve a web page, events, metrics, health and status at this address, such as 127.0.0.1:8080.
    pub http: Option<SocketAddr>,
    /// Token that the HTTP server asks for. Not on the command line, where other users of the machine would see it.
    pub http_token: Option<Secret>,
    /// POST each event as JSON to this address.
    pub webhook: Vec<Secret>,
    /// Token that webhooks get as `Authorization: Bearer`.
    pub webhook_token: Option<Secret>,
    /// PEM file of the only certificate authorities to trust for webhooks.
    pub webhook_ca: Option<PathBuf>,
    /// Run this program for each description, with the text on its standard input.
    pub command: Vec<CommandLine>,
    /// Environment variables that this program inherits besides the usual ones.
    pub command_env: Vec<String>,
    /// Have descriptions spoken by this voice.
    pub voice: Option<VoicePreset>,
    /// Its model, or the name of one of its voices.
    pub voice_model: Option<PathBuf>,
    /// Program that speaks instead.
    pub voice_command: Option<CommandLine>,
    /// Language of the descriptions [default: en].
    pub voice_language: Option<String>,
    /// Environment variables that the programs that speak and play inherit besides the usual ones.
    pub voice_env: Vec<String>,
    /// Longest time that the voice may take for one description, in seconds [default: 20].
    pub voice_timeout: Option<f64>,
    /// Write what is spoken to a growing AAC file; a folder for several streams.
    pub voice_file: Option<PathBuf>,
    /// Run this program for each spoken description, with a WAV file on its standard input.
    pub voice_play: Option<CommandLine>,
}

impl OutputConfig {
    /// Fills what `self` leaves open from `file`.
    #[must_use]
    pub fn or(self, file: OutputConfig) -> OutputConfig {
        OutputConfig {
            jsonl: self.jsonl || file.jsonl,
            vtt: self.vtt.or(file.vtt),
            vtt_rotate: self.vtt_rotate.or(file.vtt_rotate),
            vtt_keep: self.vtt_keep.or(file.vtt_keep),
            append: self.append || file.append && !self.force,
            force: self.force || file.force && !self.append,
            hls: self.hls.or(file.hls),
            hls_video: self.hls_video.or(file.hls_video),
            hls_segment: self.hls_segment.or(file.hls_segment),
            hls_window: self.hls_window.or(file.hls_window),
            http: self.http.or(file.http),
            http_token: self.http_token.or(file.http_token),
            webhook: if self.webhook.is_empty() { file.webhook } else { self.webhook },
            webhook_token: self.webhook_token.or(file.webhook_token),
            webhook_ca: self.webhook_ca.or(file.webhook_ca),
            command: if self.command.is_empty() { file.command } else { self.command },
            command_env: if self.command_env.is_empty() { file.command_env } else { self.command_env },
            // A voice of the command line replaces that of the file, whatever it is.
            voice: self.voice.or(file.voice.filter(|_| self.voice_command.is_none())),
            voice_model: self.voice_model.or(file.voice_model.filter(|_| self.voice_command.is_none())),
            voice_command: self.voice_command.or(file.voice_command.filter(|_| self.voice.is_none())),
            voice_language: self.voice_language.or(file.voice_language),
            voice_env: if self.voice_env.is_empty() { file.voice_env } else { self.voice_env },
            voice_timeout: self.voice_timeout.or(file.voice_timeout),
            voice_file: self.voice_file.or(file.voice_file),
            voice_play: self.voice_play.or(file.voice_play),
        }
    }

    /// The token of the HTTP server: from the file, or the environment.
    pub fn http_token(&self) -> Option<String> {
        secret(&self.http_token, "DESCRY_HTTP_TOKEN")
    }

    /// Opens all outputs, before any stream is connected to.
    ///
    /// # Errors
    /// When one cannot be opened, or its settings are wrong.
    pub fn open(&self, streams: &[Arc<str>], metrics: &Arc<Metrics>) -> Result<Vec<Box<dyn Sink>>> {
        if self.append && self.force {
            let remedy = message!["Use either ", Setting::Append, " or ", Setting::Overwrite, "."];
            return Err(Error::usage("an existing file cannot be both appended to and replaced", remedy));
        }
        let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
        self.open_webhooks(&mut sinks)?;
        self.open_commands(&mut sinks)?;
        if let Some(listen) = self.http {
            let options = HttpOptions { listen, token: self.http_token() };
            sinks.push(Box::new(HttpServer::bind(&options, streams, metrics.clone())?));
        }
        let rotation = self.rotation()?;
        // Files last: an error elsewhere leaves none behind.
        if let Some(hls) = self.open_hls(streams)? {
            sinks.push(Box::new(hls));
        }
        let hls = self.hls.clone().zip(self.hls_options()?);
        if let Some(voice) = self.voice_config().open(streams, self.existing(), hls)? {
            sinks.push(Box::new(voice));
        }
        if let Some(path) = &self.vtt {
            sinks.push(Box::new(self.open_vtt(path, streams, rotation)?));
        }
        if self.jsonl || sinks.is_empty() {
            sinks.push(Box::new(JsonLinesSink::new(std::io::stdout())));
        }
        Ok(sinks)
    }

    fn open_commands(&self, sinks: &mut Vec<Box<dyn Sink>>) -> Result<()> {
        if self.command.is_empty() && !self.command_env.is_empty() {
            let cause = "environment variables are given for a command, and no command";
            return Err(Error::usage(cause, "Name a command too, or leave them out."));
        }
        let options = CommandOptions { environment: self.command_env.clone(), ..CommandOptions::default() };
        for line in &self.command {
            sinks.push(Box::new(CommandSink::new(&line.0, &options)?));
        }
        Ok(())
    }

    fn open_webhooks(&self, sinks: &mut Vec<Box<dyn Sink>>) -> Result<()> {
        if self.webhook.is_empty() && self.webhook_ca.is_some() {
            let remedy = message!["Name a webhook with ", Setting::Webhook, "."];
            return Err(Error::usage("certificate authorities are given for webhooks, and no webhook", remedy));
        }
        let token = secret(&self.webhook_token, "DESCRY_WEBHOOK_TOKEN");
        for url in &self.webhook {
            let authorities = self.webhook_ca.clone();
            let options = WebhookOptions { token: token.clone(), authorities, ..WebhookOptions::default() };
            sinks.push(Box::new(WebhookSink::new(&url.0, &options)?));
        }
        Ok(())
    }

    fn open_hls(&self, streams: &[Arc<str>]) -> Result<Option<HlsSink>> {
        let opened = self.hls.as_ref().zip(self.hls_options()?);
        opened.map(|(folder, options)| HlsSink::open(folder, streams, &options)).transpose()
    }

    /// How HLS playlists are made; none without a folder.
    fn hls_options(&self) -> Result<Option<HlsOptions>> {
        if self.hls.is_none() {
            if self.hls_video.is_some() || self.hls_segment.is_some() || self.hls_window.is_some() {
                let remedy = message!["Name a folder with ", Setting::Hls, "."];
                return Err(Error::usage("HLS settings are given, and no folder for the playlist", remedy));
            }
            return Ok(None);
        }
        let (usual, voice) = (HlsOptions::default(), self.voice_config());
        Ok(Some(HlsOptions {
            segment: self.hls_segment.map_or(usual.segment, Time::from_secs),
            window: self.hls_window.unwrap_or(usual.window),
            video: self.hls_video.clone(),
            language: voice.language()?,
            is_spoken: voice.is_given(),
            force: self.force,
            ..usual
        }))
    }

    fn voice_config(&self) -> VoiceConfig<'_> {
        VoiceConfig {
            preset: self.voice,
            model: self.voice_model.as_deref(),
            command: self.voice_command.as_ref().map(|line| line.0.as_slice()),
            language: self.voice_language.as_deref(),
            timeout: self.voice_timeout,
            environment: &self.voice_env,
            file: self.voice_file.as_deref(),
            player: self.voice_play.as_ref().map(|line| line.0.as_slice()),
        }
    }

    /// What happens to files that exist.
    fn existing(&self) -> Existing {
        match (self.append, self.force) {
            (true, _) => Existing::Append,
            (_, true) => Existing::Replace,
            _ => Existing::Refuse,
        }
    }

    fn open_vtt(&self, path: &Path, streams: &[Arc<str>], rotation: Option<Rotation>) -> Result<VttSink> {
        let vtt = VttSink::open(path, streams, self.existing(), &CueOptions::default())?;
        Ok(match rotation {
            Some(rotation) => vtt.rotating(rotation),
            None => vtt,
        })
    }

    /// When WebVTT files are rotated.
    fn rotation(&self) -> Result<Option<Rotation>> {
        let Some(text) = &self.vtt_rotate else {
            if self.vtt_keep.is_some() {
                let remedy = message!["Rotate the files with ", Setting::VttRotate, "."];
                return Err(Error::usage("old WebVTT files are to be kept, and files are not rotated", remedy));
            }
            return Ok(None);
        };
        let fail = |remedy: String| Error::usage(format!("{text:?} is no way to rotate WebVTT files"), remedy);
        let when = text.parse().map_err(fail)?;
        if self.vtt.is_none() {
            let remedy = message!["Name one with ", Setting::Vtt, "."];
            return Err(Error::usage("there is no WebVTT file to rotate", remedy));
        }
        Ok(Some(Rotation { when, keep: self.vtt_keep.unwrap_or(KEEP) }))
    }
}

/// From the file, or the environment.
fn secret(own: &Option<Secret>, name: &str) -> Option<String> {
    own.as_ref().map(|s| s.0.clone()).or_else(|| std::env::var(name).ok()).filter(|s| !s.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn outputs(keys: Value) -> OutputConfig {
        serde_json::from_value(keys).unwrap()
    }

    fn names(o: &OutputConfig) -> Result<Vec<String>> {
        let streams: Vec<Arc<str>> = vec!["a".into(), "b".into()];
        Ok(o.open(&streams, &Metrics::new(&streams))?.iter().map(|s| s.name().to_string()).collect())
    }

    #[test]
    fn outputs_are_those_of_the_configuration() {
        assert_eq!(names(&outputs(json!({}))).unwrap(), ["jsonl"]);
        let dir = tempfile::tempdir().unwrap();
        let all = json!({
            "vtt": dir.path().join("v"),
            "hls": dir.path().join("h"),
            "hls_segment": 4.0,
            "http": "127.0.0.1:0",
            "webhook": ["http://h/secret"],
            "command": [["cat"]],
        });
        let first = outputs(all.clone());
        assert_eq!(names(&first).unwrap(), ["webhook h", "command cat", "page", "hls", "vtt"]);
        assert!(!format!("{first:?}").contains("secret"));
        assert!(names(&first).unwrap_err().to_string().contains("`append`"));
        let again = OutputConfig { append: true, jsonl: true, ..outputs(all) };
        assert_eq!(names(&again).unwrap().last().unwrap(), "jsonl");
        assert!(names(&outputs(json!({ "http": "0.0.0.0:0" }))).unwrap_err().to_string().contains("token"));
        let not_a_number = OutputConfig { hls_segment: Some(f64::NAN), ..outputs(json!({ "hls": "x" })) };
        assert!(names(&not_a_number).is_err());
        for lonely in [
            json!({ "hls_segment": 2.0 }),
            json!({ "vtt_rotate": "day" }),
            json!({ "vtt_keep": 3 }),
            json!({ "webhook_ca": "x.pem" }),
            json!({ "command_env": ["PATH"] }),
            json!({ "command": [["cat"]], "command_env": ["DESCRY_THERE_IS_NONE"] }),
            json!({ "command": [["cat"]], "command_env": ["A=B"] }),
            json!({ "vtt": "x.vtt", "vtt_rotate": "1" }),
        ] {
            assert!(names(&outputs(lonely.clone())).is_err(), "{lonely}");
        }
    }

    #[test]
    fn the_command_line_overrides_the_file() {
        let file =
            r#"{ "vtt": "f.vtt", "append": true, "command": [["a b", "c"]], "http_token": "hidden-hidden-hid" }"#;
        let file: OutputConfig = serde_json::from_str(file).unwrap();
        assert!(!format!("{file:?}").contains("hidden"));
        let both = outputs(json!({ "force": true, "vtt": "l.vtt" })).or(file);
        assert_eq!((both.vtt.unwrap().display().to_string(), both.append, both.force), ("l.vtt".into(), false, true));
        assert_eq!(both.command[0].0, ["a b", "c"]);
        assert!(serde_json::from_str::<OutputConfig>(r#"{ "vvt": "x" }"#).is_err());
    }
}
