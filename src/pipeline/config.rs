//! Every option of a run, and which of them decide the content of a track.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::budget::Budget;
use crate::isolate::Isolation;
use crate::media::thumbnail::ThumbnailOptions;
use crate::media::{Bars, DecodeOptions, Dialogue, SideTrack, TrackChoice};
use crate::model::Models;
use crate::ocr::{StaticText, TextModel};
use crate::scene::{KeyframeOptions, SceneOptions};
use crate::time::Time;
use crate::track::CueOptions;
use crate::track::DedupOptions;
use crate::track::place::PlaceOptions;

/// Options of all stages.
#[derive(Debug, Clone)]
pub struct Config {
    /// How inputs are opened and decoded. Default: that of [`DecodeOptions`], with the usual audio track as side track.
    pub decode: DecodeOptions,
    /// Decodes each film in a process of its own. Default: none, in this process.
    pub isolation: Option<Isolation>,
    /// Lines of a file of subtitles, from which speech is known instead of from a side track. Default: none.
    pub dialogue: Option<Arc<Dialogue>>,
    /// What reads the text that films show. Default: none, it is not read.
    pub text: Option<TextModel>,
    /// What is said about text that is static, if any is read. Default: once.
    pub static_text: StaticText,
    /// How scene changes are found.
    pub scene: SceneOptions,
    /// How keyframes are chosen.
    pub keyframe: KeyframeOptions,
    /// What happens to black bars before a model sees a keyframe. Scenes and thumbnails keep them. Default: crop.
    pub bars: Bars,
    /// When a keyframe shows something new.
    pub dedup: DedupOptions,
    /// How cues are laid out.
    pub cue: CueOptions,
    /// Language of the descriptions: a BCP 47 tag, `und` if it is not known. It is written into tracks, and changes nothing
    /// else. Default: `en`.
    pub language: String,
    /// How descriptions are placed in the pauses of speech, where something tells where people talk. Default: not at all; a
    /// cue is as long as its scene.
    pub place: Option<PlaceOptions>,
    /// The thumbnail of each keyframe that a [`KeyframeSink`](super::KeyframeSink) receives or a track keeps. Default: 320
    /// pixels wide, quality 80.
    pub thumbnail: ThumbnailOptions,
    /// Whether tracks keep the thumbnails of their scenes, in temporary files. Default: false.
    pub keep_pictures: bool,
    /// Scenes whose caption scores lower get no cue, 0 to 1. Default: 0.
    pub min_score: f32,
    /// Files that are decoded at once. Default: 1.
    pub jobs: usize,
    /// Most pictures in one run of the image tower. Default: 8.
    pub encode_batch: usize,
    /// Most pictures in one run of the captioner. Default: 16.
    pub caption_batch: usize,
    /// A batch that is not full runs when its oldest picture has waited this long. Keyframes come several a second when a
    /// file is decoded as fast as possible: with a much shorter wait, captions are made picture by picture, which costs more
    /// than the wait. The end of a file waits for nothing. Default: 1 s.
    pub linger: Duration,
    /// How much of the machine the run may use. Default: all.
    pub budget: Arc<Budget>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            decode: DecodeOptions { side_track: SideTrack::Audio(TrackChoice::Usual), ..DecodeOptions::default() },
            isolation: None,
            dialogue: None,
            text: None,
            static_text: StaticText::default(),
            scene: SceneOptions::default(),
            keyframe: KeyframeOptions::default(),
            bars: Bars::default(),
            dedup: DedupOptions::default(),
            cue: CueOptions::default(),
            language: "en".into(),
            place: None,
            thumbnail: ThumbnailOptions::default(),
            keep_pictures: false,
            min_score: 0.0,
            jobs: 1,
            encode_batch: 8,
            caption_batch: 16,
            linger: Duration::from_secs(1),
            budget: Arc::default(),
        }
    }
}

impl Config {
    /// Default options, with the thresholds that were measured for the models.
    pub fn of_models(models: &Models) -> Config {
        Config {
            dedup: DedupOptions::measured(models.embedder.manifest().embedder.as_ref()),
            min_score: models.captioner.default_min_score(),
            ..Config::default()
        }
    }

    /// The options that decide the content of a track, as JSON; times in seconds. `decoding` describes the caption search.
    ///
    /// Two runs with equal content options and the same model write the same track.
    pub fn content_options(&self, decoding: &Value) -> Value {
        // As it was written: 0.92 and not 0.9200000166893005.
        let plain = |c: f32| (f64::from(c) * 1e6).round() / 1e6;
        let cosine = |c: f32| c.is_finite().then(|| plain(c));
        let speech = match (&self.dialogue, &self.decode.side_track) {
            (Some(dialogue), _) => Some(format!("file {}", dialogue.hash)),
            (None, SideTrack::Nothing) => None,
            (None, SideTrack::Audio(track)) => Some(format!("audio {track}")),
            (None, SideTrack::Subtitles(track)) => Some(format!("subtitles {track}")),
        };
        let mut options = json!({
            "start": self.decode.start.map(Time::secs),
            "end": self.decode.end.map(Time::secs),
            "mode": self.decode.frames.name(),
            "scenes": format!("{:?}", self.scene.detector).to_lowercase(),
            "ratio": plain(self.scene.ratio),
            "threshold": plain(self.scene.threshold),
            "interval": self.scene.interval.secs(),
            "min_scene": self.scene.min_scene.secs(),
            "max_gap": self.keyframe.max_gap.secs(),
            "bars": self.bars.name(),
            "same": cosine(self.dedup.same),
            "returning": cosine(self.dedup.returning),
            "speech": speech,
            "text": self.text.as_ref().map(TextModel::name),
            "place": self.place,
            "max_line": self.cue.max_line,
            "max_lines": self.cue.max_lines,
            "reading_speed": self.cue.reading_speed,
            "min_duration": self.cue.min_duration.secs(),
            "max_duration": self.cue.max_duration.map(Time::secs),
            "min_score": plain(self.min_score),
            "decoding": decoding,
        });
        // An option more would be another state of every archive.
        if self.text.is_some() {
            options["text_static"] = self.static_text.name().into();
        }
        options
    }
}
