//! Texts for people that may name a setting.
//!
//! The library does not know how its user sets an option: in code it is a field, on the command line a flag. So a
//! [`Message`] names the [`Setting`], and the caller that displays it chooses the words. `Display` uses the name of
//! the field; [`Message::render`] takes a function that chooses.

use std::fmt;

use crate::printable::printable_message;
use serde::{Deserialize, Serialize};

/// Declares [`Setting`] with the name that the library displays for each variant.
macro_rules! settings {
    ($($(#[$doc:meta])* $variant:ident => $field:literal,)*) => {
        /// An option, or a step of work, that a message refers to.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Setting {
            $($(#[$doc])* $variant,)*
        }

        impl Setting {
            /// Every setting that a message can name.
            pub const ALL: &[Setting] = &[$(Setting::$variant),*];

            /// Name of the field or function in the library.
            pub const fn field(self) -> &'static str {
                match self {
                    $(Setting::$variant => $field,)*
                }
            }
        }
    };
}

settings! {
    /// Let redirects and playlists lead to addresses that are not public.
    AllowPrivate => "allow_private",
    /// Append to an output that exists.
    Append => "append",
    /// Audio track in which speech is found, or that descriptions are mixed into.
    Audio => "audio",
    /// Where the archive is.
    Archive => "archive",
    /// Repairing an archive.
    ArchiveRepair => "archive repair",
    /// Pictures in one run of the model.
    Batch => "batch",
    /// Hypotheses that beam search keeps.
    Beam => "beam",
    /// Certificate authorities to trust besides the public ones.
    Authorities => "ca",
    /// Environment variables that the program of an output inherits.
    CommandEnv => "command_env",
    /// File that configures the streams of live mode.
    Config => "config",
    /// Earlier descriptions in a prompt.
    Context => "context",
    /// Describing a file.
    Describe => "describe",
    /// Subtitles that say when people talk.
    Dialogue => "dialogue",
    /// How long a decoder in a process of its own may give no sign of life.
    DecoderTimeout => "isolation.limit",
    /// Checking the installation.
    Doctor => "doctor",
    /// Device that the model runs on.
    Device => "device",
    /// Model that embeds pictures for another captioner.
    Embedder => "embedder",
    /// Films that pause for descriptions.
    Extended => "extended",
    /// First moment that is not described.
    End => "end",
    /// Format of an output.
    Format => "format",
    /// Pictures of a scene that a captioner sees.
    Frames => "frames",
    /// Greedy search.
    Greedy => "greedy",
    /// How long one run of the model may take.
    Hang => "hang",
    /// Attention heads of a language model that is imported.
    Heads => "heads",
    /// Folder for HLS outputs.
    Hls => "hls",
    /// Address of the HTTP server.
    Http => "http",
    /// FFmpeg's device for decoding.
    Hwaccel => "hwaccel",
    /// Describing videos into an archive.
    Index => "index",
    /// Pictures that integers are tried on.
    Images => "images",
    /// Accept any certificate.
    Insecure => "insecure",
    /// Decoding in processes of their own.
    Isolate => "isolation",
    /// Files that are decoded at once.
    Jobs => "jobs",
    /// Where the page of a review is.
    Listen => "listen",
    /// Largest picture that is decoded.
    MaxPixels => "max_pixels",
    /// Longest caption in tokens.
    MaxTokens => "max_tokens",
    /// Memory for decoding.
    Memory => "memory",
    /// Folder of the model, or address of its server.
    Model => "model",
    /// Name of a model on a server.
    ModelName => "model_name",
    /// Printing the names of models.
    ModelList => "model list",
    /// Bringing a model from the hub.
    ModelPull => "model pull",
    /// Folder of all pulled models.
    ModelStore => "DESCRY_MODELS",
    /// Scenes whose captions score lower get no cue.
    MinScore => "min_score",
    /// Decoding in descry's own process.
    NoIsolate => "isolation: None",
    /// Whether a mapper reads embeddings of length 1.
    NormalizePrefix => "normalize_prefix",
    /// Where an output is written.
    Output => "output",
    /// Replace an output that exists.
    Overwrite => "overwrite",
    /// Describing a part of a film.
    Part => "part",
    /// Longest side of the pictures that a server of models gets.
    PictureSize => "picture_side",
    /// Which variant of a model's graphs is run.
    Precision => "precision",
    /// Published checkpoint that is imported.
    Preset => "preset",
    /// What a model is asked.
    Prompt => "prompt",
    /// Play a file at its own pace.
    Realtime => "realtime",
    /// Build the search index again.
    Rebuild => "rebuild",
    /// Where the review of a film is kept.
    Review => "review",
    /// Try failed videos again.
    RetryFailed => "retry_failed",
    /// Sampling of captions.
    Sample => "sample",
    /// Folder of the search index.
    SearchIndex => "search_index",
    /// Requests to a server of models at the same time.
    ServerJobs => "server_jobs",
    /// How long a server of models may take for an answer.
    ServerTimeout => "server_timeout",
    /// Codec of a spoken track.
    AudioCodec => "codec",
    /// First moment that is described.
    Start => "start",
    /// Token that ends a caption.
    StopToken => "stop_token",
    /// Temperature of the caption search.
    Temperature => "temperature",
    /// How long a server may be silent.
    Timeout => "timeout",
    /// Voice that speaks descriptions.
    Voice => "voice",
    /// Program that speaks descriptions.
    VoiceCommand => "voice.program",
    /// Environment variables that the program of a voice inherits.
    VoiceEnv => "voice.environment",
    /// File of spoken descriptions in live mode.
    VoiceFile => "voice_file",
    /// Model of a voice.
    VoiceModel => "voice.model",
    /// Program that plays spoken descriptions in live mode.
    VoicePlay => "voice_play",
    /// WebVTT file of live mode.
    Vtt => "vtt",
    /// When live mode begins a new WebVTT file.
    VttRotate => "vtt_rotate",
    /// Address of a webhook.
    Webhook => "webhook",
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.field())
    }
}

/// A piece of a [`Message`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fragment {
    /// Plain text.
    Text(String),
    /// The name of a setting.
    Setting(Setting),
}

impl From<&str> for Fragment {
    fn from(text: &str) -> Fragment {
        Fragment::Text(text.into())
    }
}

impl From<String> for Fragment {
    fn from(text: String) -> Fragment {
        Fragment::Text(text)
    }
}

impl From<Setting> for Fragment {
    fn from(setting: Setting) -> Fragment {
        Fragment::Setting(setting)
    }
}

/// A text for people. Made from a string, or with [`message!`](crate::message!) where it names a setting.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Message(Vec<Fragment>);

impl Message {
    /// A message of these pieces, in order.
    pub fn new(fragments: impl IntoIterator<Item = Fragment>) -> Message {
        Message(fragments.into_iter().collect())
    }

    /// The text, with the words of `name` for each setting.
    pub fn render(&self, name: impl Fn(Setting) -> String) -> String {
        self.0
            .iter()
            .map(|fragment| match fragment {
                Fragment::Text(text) => printable_message(text).into_owned(),
                Fragment::Setting(setting) => name(*setting),
            })
            .collect()
    }

    /// This message with other texts; the settings stay.
    #[must_use]
    pub(crate) fn map_text(self, change: impl Fn(String) -> String) -> Message {
        let change = |fragment| match fragment {
            Fragment::Text(text) => Fragment::Text(change(text)),
            setting @ Fragment::Setting(_) => setting,
        };
        Message(self.0.into_iter().map(change).collect())
    }

    /// This message and more text behind it.
    #[must_use]
    pub fn and(mut self, more: impl Into<Message>) -> Message {
        self.0.extend(more.into().0);
        self
    }
}

/// Names settings by their fields.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(|setting| setting.to_string()))
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Message {
        Message(vec![text.into()])
    }
}

impl From<String> for Message {
    fn from(text: String) -> Message {
        Message(vec![text.into()])
    }
}

/// Makes a [`Message`](crate::message::Message) of texts and [`Setting`](crate::message::Setting)s.
///
/// ```
/// use descry::message;
/// use descry::message::Setting;
///
/// let advice = message!["Raise ", Setting::Timeout, " or check the address."];
/// assert_eq!(advice.to_string(), "Raise `timeout` or check the address.");
/// assert_eq!(advice.render(|s| format!("--{}", s.field())), "Raise --timeout or check the address.");
/// ```
#[macro_export]
macro_rules! message {
    ($($piece:expr),+ $(,)?) => {
        $crate::message::Message::new([$($crate::message::Fragment::from($piece)),+])
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_named_by_whoever_displays_the_message() {
        let advice = message!["Give ", Setting::Overwrite, " to replace ", String::from("a.vtt"), "."];
        assert_eq!(advice.to_string(), "Give `overwrite` to replace a.vtt.");
        assert_eq!(advice.render(|_| "--force".into()), "Give --force to replace a.vtt.");
        assert_eq!(Message::from("plain").and(" text"), message!["plain", " text"]);
    }

    #[test]
    fn fields_are_unique() {
        let mut fields: Vec<_> = Setting::ALL.iter().map(|s| s.field()).collect();
        fields.sort_unstable();
        fields.dedup();
        assert_eq!(fields.len(), Setting::ALL.len());
    }
}
