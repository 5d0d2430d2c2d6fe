//! Which streams are watched and how: from the command line or a TOML file, all of it checked before anything starts.
//!
//! ```toml
//! max_gap = 8                 # for every stream that does not say otherwise
//!
//! [[stream]]
//! name = "door"               # default: host and path of the address
//! url = "rtsp://user:password@camera/door"
//! transport = "udp"           # RTSP: tcp (default) or udp
//! min_interval = 5            # seconds
//! ```
//!
//! `[outputs]` is told of in [`super::outputs`].

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::outputs::Outputs;
use crate::address::is_url;
use crate::address::{Address, hide};
use crate::error::{Error, Result};
use crate::media::decode::{Access, container_version};
use crate::scene::watcher::GlanceOptions;
use crate::time::Time;

/// Most streams in one process: a thread and a decoder each.
pub const MOST_STREAMS: usize = 256;

/// How RTSP brings its packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    #[default]
    Tcp,
    Udp,
}

/// What an address is, by its scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Rtsp,
    Rtsps,
    Rtmp,
    Rtmps,
    Srt,
    /// HLS, or anything else that a web server streams.
    Http,
    /// MPEG-TS.
    Udp,
    Camera,
    File,
}

impl Kind {
    fn of(url: &str) -> Result<Kind> {
        if !is_url(url) {
            let camera = url.starts_with("v4l2:") || url.starts_with("/dev/video");
            return Ok(if camera { Kind::Camera } else { Kind::File });
        }
        let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme).to_ascii_lowercase();
        Ok(match scheme.as_str() {
            "rtsp" => Kind::Rtsp,
            "rtsps" => Kind::Rtsps,
            "rtmp" => Kind::Rtmp,
            "rtmps" => Kind::Rtmps,
            "srt" => Kind::Srt,
            "http" | "https" => Kind::Http,
            "udp" => Kind::Udp,
            _ => {
                return Err(Error::usage(
                    format!("{}: {scheme}:// is no kind of source that descry watches", Address::new(url)),
                    "use rtsp, rtsps, rtmp, rtmps, srt, http, https, udp, /dev/videoN, or a file with --realtime",
                ));
            }
        })
    }

    /// The protocols that may be opened for it, by whomever: the address itself, a redirect, or a playlist.
    fn protocols(self, transport: Transport) -> &'static str {
        match (self, transport) {
            (Kind::Rtsp, Transport::Tcp) => "rtsp,rtp,tcp",
            (Kind::Rtsp, Transport::Udp) => "rtsp,rtp,tcp,udp",
            (Kind::Rtsps, _) => "rtsps,rtsp,rtp,srtp,tls,tcp",
            (Kind::Rtmp, _) => "rtmp,tcp",
            (Kind::Rtmps, _) => "rtmps,tls,tcp",
            (Kind::Srt, _) => "srt",
            (Kind::Http, _) => "http,https,httpproxy,crypto,tls,tcp",
            (Kind::Udp, _) => "udp",
            (Kind::Camera | Kind::File, _) => "file",
        }
    }

    /// Whether it ends with its last frame, for good.
    pub fn ends(self) -> bool {
        self == Kind::File
    }
}

/// One stream, ready to be opened.
#[derive(Debug, Clone)]
pub struct StreamConfig {
    /// Unique, and safe to show.
    pub name: Arc<str>,
    pub address: Address,
    pub kind: Kind,
    pub transport: Transport,
    /// Nothing new for so long, and the connection is given up. Default: 10 s.
    pub silence: Duration,
    pub glance: GlanceOptions,
    /// A scene that goes on is said again after this. Default: never.
    pub every: Option<Time>,
    /// Least time between two descriptions. Default: 1 s.
    pub min_interval: Time,
    /// Decoder threads; 0 for none that hold frames back. Default: 0.
    pub decode_threads: usize,
}

/// What may be said of a stream: on the command line for all, in the file for all and for one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneStream {
    url: String,
    name: Option<String>,
    transport: Option<Transport>,
    realtime: Option<bool>,
    silence: Option<f64>,
    max_gap: Option<f64>,
    every: Option<f64>,
    min_interval: Option<f64>,
    decode_threads: Option<usize>,
}

/// What holds for every stream that does not say otherwise. Times are in seconds.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    pub transport: Option<Transport>,
    pub realtime: Option<bool>,
    pub silence: Option<f64>,
    pub max_gap: Option<f64>,
    pub every: Option<f64>,
    pub min_interval: Option<f64>,
    pub decode_threads: Option<usize>,
    /// Of the whole process: a run of the model that takes longer hangs.
    pub hang: Option<f64>,
    #[serde(default)]
    pub outputs: Outputs,
    #[serde(default, rename = "stream")]
    pub streams: Vec<OneStream>,
}

impl Defaults {
    /// From a TOML file. Says where it is wrong, and never what stands there: that may be a password.
    pub fn read(path: &Path) -> Result<Defaults> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|e| {
            Error::usage(format!("{shown}: cannot be read: {e}"), "Name a TOML file that this user may read.")
        })?;
        toml::from_str(&text).map_err(|e| {
            let line = e.span().map(|s| text[..s.start.min(text.len())].matches('\n').count() + 1);
            let line = line.map_or(String::new(), |n| format!(":{n}"));
            // What the reader quotes is what was written.
            let what = hide(&unquoted(e.message()));
            Error::usage(format!("{shown}{line}: {what}"), "The README lists what a configuration may hold.")
        })
    }

    /// A run of the model that takes longer than this hangs.
    pub fn hang(&self, file: Option<&Defaults>) -> Result<Duration> {
        match self.hang.or(file.and_then(|f| f.hang)) {
            None => Ok(Duration::from_secs(30)),
            Some(s) if (1.0..=1e6).contains(&s) => Ok(Duration::from_secs_f64(s)),
            Some(s) => Err(Error::usage(format!("hang = {s} is out of range"), "Give seconds, from 1 to 1000000.")),
        }
    }

    /// All streams: those of the file, then `urls`. `self` goes before `file` where both say something.
    pub fn streams(&self, file: Option<&Defaults>, urls: &[String]) -> Result<Vec<StreamConfig>> {
        let named = file.map_or(&[][..], |f| &f.streams[..]).iter().cloned();
        let plain = urls.iter().map(|url| OneStream { url: url.clone(), ..OneStream::default() });
        let nothing = Defaults::default();
        let file = file.unwrap_or(&nothing);
        let mut out: Vec<StreamConfig> = Vec::new();
        let mut names = HashSet::new();
        for one in named.chain(plain) {
            let stream = self.stream(file, one, &mut names)?;
            out.push(stream);
        }
        if out.is_empty() {
            return Err(Error::usage(
                "there is nothing to watch",
                "Name a URL, or a --config file that has a [[stream]].",
            ));
        }
        if out.len() > MOST_STREAMS {
            return Err(Error::usage(
                format!("{} streams are more than the {MOST_STREAMS} that one process watches", out.len()),
                "Divide them among several.",
            ));
        }
        Ok(out)
    }

    fn stream(&self, file: &Defaults, one: OneStream, names: &mut HashSet<String>) -> Result<StreamConfig> {
        let address = Address::new(one.url);
        let kind = Kind::of(address.reveal())?;
        if address.reveal().contains('\0') {
            return Err(Error::usage(format!("{address}: the address holds a NUL byte"), "Write it without."));
        }
        let realtime = one.realtime.or(self.realtime).or(file.realtime).unwrap_or(false);
        if kind == Kind::File && !realtime {
            return Err(Error::usage(
                format!("{address} is a file"),
                "Use `descry describe`, or --realtime to watch it at its own pace.",
            ));
        }
        let given = one.name.is_some();
        let name = one.name.unwrap_or_else(|| default_name(&address));
        if given && (name.trim().is_empty() || name.len() > 100 || name.chars().any(char::is_control)) {
            return Err(Error::usage(
                format!("{address}: its name must be of 1 to 100 characters"),
                "Give it another `name`.",
            ));
        }
        if given && names.contains(&name) {
            return Err(Error::usage(format!("two streams are called {name:?}"), "Give one of them another `name`."));
        }
        let mut unique = name.clone();
        for n in 2.. {
            if names.insert(unique.clone()) {
                break;
            }
            unique = format!("{name} ({n})");
        }
        let time = |what: &str, values: [Option<f64>; 3], least: f64| match values.into_iter().flatten().next() {
            None => Ok(None),
            Some(s) if (least..=1e6).contains(&s) => Ok(Some(Time::from_secs(s))),
            Some(s) => Err(Error::usage(
                format!("{unique}: {what} = {s} is out of range"),
                format!("Give seconds, from {least} to 1000000."),
            )),
        };
        let defaults = GlanceOptions::default();
        let silence = time("silence", [one.silence, self.silence, file.silence], 0.5)?;
        let every = time("every", [one.every, self.every, file.every], 0.1)?;
        let min_interval = time("min_interval", [one.min_interval, self.min_interval, file.min_interval], 0.0)?;
        let max_gap = time("max_gap", [one.max_gap, self.max_gap, file.max_gap], 0.1)?.unwrap_or(defaults.max_gap);
        Ok(StreamConfig {
            name: unique.into(),
            kind,
            transport: one.transport.or(self.transport).or(file.transport).unwrap_or_default(),
            silence: Duration::from_micros(silence.unwrap_or(Time::from_millis(10_000)).micros().max(0) as u64),
            // A scene that is to be said again must be looked at again.
            glance: GlanceOptions { max_gap: every.map_or(max_gap, |e| e.min(max_gap)) },
            every,
            min_interval: min_interval.unwrap_or(Time::from_millis(1_000)),
            decode_threads: one.decode_threads.or(self.decode_threads).or(file.decode_threads).unwrap_or(0).min(64),
            address,
        })
    }
}

/// What stands between quotes or backticks is left out.
fn unquoted(message: &str) -> String {
    let mut out = String::new();
    let mut inside = None;
    for c in message.lines().next().unwrap_or_default().chars() {
        match inside {
            Some(quote) if c == quote => inside = None,
            Some(_) => {}
            None if c == '"' => {
                out.push('…');
                inside = Some(c);
            }
            None => out.push(c),
        }
    }
    out
}

/// Host and path, or a file's name.
fn default_name(address: &Address) -> String {
    let shown = address.shown();
    match shown.split_once("://") {
        Some((_, rest)) => rest.trim_end_matches(['?', '…', '/']).chars().take(100).collect(),
        None => Path::new(&shown).file_name().map_or(shown.clone(), |n| n.to_string_lossy().into_owned()),
    }
}

impl StreamConfig {
    /// What FFmpeg is told.
    pub fn access(&self) -> Access {
        let reveal = self.address.reveal();
        let address = match self.kind {
            Kind::File => format!("file:{reveal}"),
            Kind::Camera => reveal.strip_prefix("v4l2:").unwrap_or(reveal).to_string(),
            _ => reveal.to_string(),
        };
        let format = match self.kind {
            // What comes as datagrams is nothing else; a guess could be led astray.
            Kind::Udp | Kind::Srt => Some("mpegts"),
            Kind::Camera => Some("v4l2"),
            _ => None,
        };
        let micros = self.silence.as_micros().to_string();
        let mut options = vec![("protocol_whitelist", self.kind.protocols(self.transport).to_string())];
        if self.kind != Kind::File {
            // Missing times are made up, damaged packets left out; and what is looked at before the first frame is kept
            // short, for everything that comes meanwhile is old when it is decoded.
            options.push(("fflags", "+genpts+discardcorrupt".into()));
            options.push(("analyzeduration", "2000000".into()));
            options.push(("fpsprobesize", "0".into()));
        }
        match self.kind {
            Kind::Rtsp | Kind::Rtsps => {
                let udp = self.kind == Kind::Rtsp && self.transport == Transport::Udp;
                options.push(("rtsp_transport", if udp { "udp" } else { "tcp" }.into()));
                // In libavformat before 59 this name meant to wait for a connection.
                options.push((if container_version() >= 59 { "timeout" } else { "stimeout" }, micros));
            }
            Kind::Udp => {
                options.push(("overrun_nonfatal", "1".into()));
                options.push(("timeout", micros));
            }
            // RTMP takes `timeout` for how long to listen.
            Kind::Rtmp | Kind::Rtmps | Kind::Srt | Kind::Http => options.push(("rw_timeout", micros)),
            Kind::Camera | Kind::File => {}
        }
        Access { address, name: self.name.to_string(), format, options }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(toml: &str) -> Result<Vec<StreamConfig>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("streams.toml");
        std::fs::write(&path, toml).unwrap();
        let file = Defaults::read(&path)?;
        Defaults::default().streams(Some(&file), &[])
    }

    fn option<'a>(access: &'a Access, name: &str) -> Option<&'a str> {
        access.options.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str())
    }

    #[test]
    fn a_file_names_streams_and_what_holds_for_all() {
        let streams = read(
            "max_gap = 4\nmin_interval = 0\n[[stream]]\nurl = 'rtsp://u:passw0rd@cam:554/door'\n[[stream]]\nname = 'yard'\n\
             url = 'rtsp://cam/yard'\ntransport = 'udp'\nevery = 2.5\n",
        )
        .unwrap();
        assert_eq!(streams.iter().map(|s| &*s.name).collect::<Vec<_>>(), ["cam:554/door", "yard"]);
        assert_eq!(streams[0].glance.max_gap, Time::from_millis(4_000));
        assert_eq!(streams[1].glance.max_gap, Time::from_millis(2_500));
        assert_eq!(streams[1].min_interval, Time::ZERO);
        let access = streams[1].access();
        assert_eq!(option(&access, "rtsp_transport"), Some("udp"));
        assert_eq!(option(&streams[0].access(), "protocol_whitelist"), Some("rtsp,rtp,tcp"));
        assert_eq!(option(&streams[0].access(), "fflags"), Some("+genpts+discardcorrupt"));
    }

    #[test]
    fn the_example_is_sound() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/service/streams.toml");
        let file = Defaults::read(&path).unwrap();
        assert_eq!(Defaults::default().streams(Some(&file), &[]).unwrap().len(), 2);
        assert!(file.outputs.http.unwrap().ip().is_loopback());
    }

    #[test]
    fn wrong_files_are_refused_without_showing_what_they_hold() {
        for (toml, wanted) in [
            ("", "nothing to watch"),
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
        ] {
            let error = read(toml).unwrap_err().to_string();
            assert!(error.contains(wanted), "{toml}: {error}");
            assert!(!error.contains("t0p"), "{error}");
        }
    }

    #[test]
    fn plain_addresses_get_names_of_their_own() {
        let urls: Vec<String> =
            ["rtsp://u:p@cam/a", "rtsp://cam/a", "/dev/video0", "http://h/x.m3u8?k=v"].map(String::from).into();
        let streams = Defaults::default().streams(None, &urls).unwrap();
        let names: Vec<_> = streams.iter().map(|s| &*s.name).collect();
        assert_eq!(names, ["cam/a", "cam/a (2)", "video0", "h/x.m3u8"]);
        assert_eq!(streams[2].access().format, Some("v4l2"));
        assert_eq!(option(&streams[3].access(), "protocol_whitelist"), Some("http,https,httpproxy,crypto,tls,tcp"));
    }
}
