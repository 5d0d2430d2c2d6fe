//! Which outputs a live run has: from the command line, or the `[outputs]` of the TOML file.
//!
//! ```toml
//! [outputs]
//! jsonl = true                # default: where there is no other
//! vtt = "live.vtt"            # several streams: a folder
//! append = true
//! vtt_rotate = "day"          # or a size, such as "10M"
//! vtt_keep = 30               # old files
//! hls = "hls/"
//! hls_video = "video.m3u8"
//! http = "0.0.0.0:8080"
//! http_token = "…"            # or the environment's DESCRY_HTTP_TOKEN
//! webhook = ["https://host/path"]
//! webhook_token = "…"         # or DESCRY_WEBHOOK_TOKEN
//! webhook_ca = "ca.pem"
//! command = [["espeak-ng", "--stdin"]]
//! ```

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use serde::Deserialize;

use super::http::{Http, HttpOptions};
use super::hub::Sink;
use super::metrics::Metrics;
use super::sinks::command::{Command, CommandOptions};
use super::sinks::hls::{Hls, HlsOptions};
use super::sinks::jsonl::JsonLines;
use super::sinks::vtt::{Existing, Rotation, Vtt};
use super::sinks::webhook::{Webhook, WebhookOptions};
use crate::error::{Error, Result};
use crate::time::Time;
use crate::track::cue::CueOptions;

/// Something that is never shown.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl FromStr for Secret {
    type Err = Infallible;
    fn from_str(s: &str) -> Result<Secret, Infallible> {
        Ok(Secret(s.into()))
    }
}

/// A program and its arguments: on the command line parted by blanks, in the file as they are.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct Words(Vec<String>);

impl FromStr for Words {
    type Err = Infallible;
    fn from_str(s: &str) -> Result<Words, Infallible> {
        Ok(Words(s.split_whitespace().map(String::from).collect()))
    }
}

/// The outputs, as they are asked for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Outputs {
    /// JSON lines on standard output; the default where no other output is named.
    pub jsonl: bool,
    /// A WebVTT file that grows; for several streams a folder.
    pub vtt: Option<PathBuf>,
    /// Begin another WebVTT file each day (UTC), or when one has reached a size such as 10M.
    pub vtt_rotate: Option<String>,
    /// Old WebVTT files that stay, for each stream [default: 30].
    pub vtt_keep: Option<usize>,
    /// Go on with a WebVTT file that exists.
    pub append: bool,
    /// Replace files that exist and are not descry's.
    pub force: bool,
    /// A rolling HLS playlist of descriptions in this folder.
    pub hls: Option<PathBuf>,
    /// The video's media playlist, for a master playlist that joins both.
    pub hls_video: Option<String>,
    /// Seconds of an HLS segment, as the video has them [default: 2].
    pub hls_segment: Option<f64>,
    /// Segments in the HLS playlist [default: 10].
    pub hls_window: Option<usize>,
    /// Web page, events, metrics, health and status at this address, such as 127.0.0.1:8080.
    pub http: Option<SocketAddr>,
    /// Whoever asks needs it. Not on the command line, where others would see it.
    pub http_token: Option<Secret>,
    /// POST each event as JSON there.
    pub webhook: Vec<Secret>,
    pub webhook_token: Option<Secret>,
    /// PEM file of the certificates that may vouch for webhooks, and no others.
    pub webhook_ca: Option<PathBuf>,
    /// Run this for each description, with the text on its standard input.
    pub command: Vec<Words>,
}

impl Outputs {
    /// What the command line says goes before what the file says.
    pub fn or(self, file: Outputs) -> Outputs {
        let first = |a: Vec<_>, b| if a.is_empty() { b } else { a };
        Outputs {
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
            webhook: first(self.webhook, file.webhook),
            webhook_token: self.webhook_token.or(file.webhook_token),
            webhook_ca: self.webhook_ca.or(file.webhook_ca),
            command: if self.command.is_empty() { file.command } else { self.command },
        }
    }

    /// How WebVTT files give way to new ones.
    fn rotation(&self) -> Result<Option<Rotation>> {
        let Some(text) = &self.vtt_rotate else {
            return match self.vtt_keep {
                Some(_) => {
                    Err(Error::usage("there are old WebVTT files to keep, and none are made", "Say --vtt-rotate."))
                }
                None => Ok(None),
            };
        };
        let fail = |remedy: String| Error::usage(format!("WebVTT files cannot be rotated by {text:?}"), remedy);
        let full = text.parse().map_err(fail)?;
        if self.vtt.is_none() {
            return Err(Error::usage("there is no WebVTT file to rotate", "Name one with --vtt."));
        }
        Ok(Some(Rotation { full, keep: self.vtt_keep.unwrap_or(30) }))
    }

    /// What the page wants to be asked with.
    pub fn http_token(&self) -> Option<String> {
        secret(&self.http_token, "DESCRY_HTTP_TOKEN")
    }

    /// Opens all of them, or says what is wrong with one: before any stream is connected to.
    pub fn open(&self, streams: &[Arc<str>], metrics: &Arc<Metrics>) -> Result<Vec<Box<dyn Sink>>> {
        let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
        if self.append && self.force {
            return Err(Error::usage("append and force exclude each other", "Say one of them."));
        }
        let token = secret(&self.webhook_token, "DESCRY_WEBHOOK_TOKEN");
        if self.webhook.is_empty() && self.webhook_ca.is_some() {
            return Err(Error::usage("there are authorities for webhooks, and no webhook", "Name one with --webhook."));
        }
        for url in &self.webhook {
            let authorities = self.webhook_ca.clone();
            let options = WebhookOptions { token: token.clone(), authorities, ..WebhookOptions::default() };
            sinks.push(Box::new(Webhook::new(&url.0, &options)?));
        }
        for line in &self.command {
            sinks.push(Box::new(Command::new(&line.0, &CommandOptions::default())?));
        }
        if let Some(listen) = self.http {
            let options = HttpOptions { listen, token: self.http_token() };
            sinks.push(Box::new(Http::bind(&options, streams, metrics.clone())?));
        }
        let rotation = self.rotation()?;
        // Files last: what is wrong elsewhere leaves none behind.
        let of_hls = self.hls_video.is_some() || self.hls_segment.is_some() || self.hls_window.is_some();
        if self.hls.is_none() && of_hls {
            return Err(Error::usage("there is something about HLS, and no folder for it", "Name one with --hls."));
        }
        if let Some(folder) = &self.hls {
            let usual = HlsOptions::default();
            let options = HlsOptions {
                segment: self.hls_segment.map_or(usual.segment, Time::from_secs),
                window: self.hls_window.unwrap_or(usual.window),
                video: self.hls_video.clone(),
                force: self.force,
                ..usual
            };
            sinks.push(Box::new(Hls::open(folder, streams, &options)?));
        }
        if let Some(path) = &self.vtt {
            let existing = match (self.append, self.force) {
                (true, _) => Existing::Append,
                (_, true) => Existing::Replace,
                _ => Existing::Refuse,
            };
            let vtt = Vtt::open(path, streams, existing, &CueOptions::default())?;
            sinks.push(Box::new(match rotation {
                Some(rotation) => vtt.rotating(rotation),
                None => vtt,
            }));
        }
        if self.jsonl || sinks.is_empty() {
            sinks.push(Box::new(JsonLines::new(std::io::stdout())));
        }
        Ok(sinks)
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

    fn outputs(keys: Value) -> Outputs {
        serde_json::from_value(keys).unwrap()
    }

    fn names(o: &Outputs) -> Result<Vec<String>> {
        let streams: Vec<Arc<str>> = vec!["a".into(), "b".into()];
        Ok(o.open(&streams, &Metrics::new(&streams))?.iter().map(|s| s.name().to_string()).collect())
    }

    #[test]
    fn outputs_are_those_asked_for() {
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
        assert!(names(&first).unwrap_err().to_string().contains("--append"));
        let again = Outputs { append: true, jsonl: true, ..outputs(all) };
        assert_eq!(names(&again).unwrap().last().unwrap(), "jsonl");
        assert!(names(&outputs(json!({ "http": "0.0.0.0:0" }))).unwrap_err().to_string().contains("token"));
        let not_a_number = Outputs { hls_segment: Some(f64::NAN), ..outputs(json!({ "hls": "x" })) };
        assert!(names(&not_a_number).is_err());
        for lonely in [
            json!({ "hls_segment": 2.0 }),
            json!({ "vtt_rotate": "day" }),
            json!({ "vtt_keep": 3 }),
            json!({ "webhook_ca": "x.pem" }),
            json!({ "vtt": "x.vtt", "vtt_rotate": "1" }),
        ] {
            assert!(names(&outputs(lonely.clone())).is_err(), "{lonely}");
        }
    }

    #[test]
    fn the_command_line_goes_before_the_file() {
        let file =
            r#"{ "vtt": "f.vtt", "append": true, "command": [["a b", "c"]], "http_token": "hidden-hidden-hid" }"#;
        let file: Outputs = serde_json::from_str(file).unwrap();
        assert!(!format!("{file:?}").contains("hidden"));
        let both = outputs(json!({ "force": true, "vtt": "l.vtt" })).or(file);
        assert_eq!((both.vtt.unwrap().display().to_string(), both.append, both.force), ("l.vtt".into(), false, true));
        assert_eq!(both.command[0].0, ["a b", "c"]);
        assert!(serde_json::from_str::<Outputs>(r#"{ "vvt": "x" }"#).is_err());
    }
}
