//! Arguments that several commands share, and how they become the library's options.
//!
//! Each group has its own heading in the help. The order of the groups in a command is the order of the headings.

use clap::{Args, ValueEnum, ValueHint};

use super::access_args::AccessArgs;
use super::decode_args::{DecodeArgs, DecodeMode};
use super::isolate_args::IsolateDefaults;
use super::model_args::{AnswerArgs, CaptionModelArgs, ContextArgs};
use super::place_args::{ExtendedArgs, PlaceArgs};
use super::reporter::{Reporter, count};
use super::speech_args::SpeechArgs;
use super::text_args::TextArgs;
use super::values;
use crate::address::Address;
use crate::error::{Error, Result};
use crate::isolate::{Isolation, Protection};
use crate::media::DecodeOptions;
use crate::media::language::web_language;
use crate::media::side_track::language;
use crate::media::thumbnail::ThumbnailOptions;
use crate::model::{CaptionOptions, EncodeOptions, ModelFolder, ModelOptions, Models, SessionOptions};
use crate::pipeline::{Config, Model, Stats};
use crate::scene::{Detector, KeyframeOptions, SceneOptions};
use crate::time::Time;
use crate::track::output::{self, Target};
use crate::track::{CueOptions, DedupOptions, Format};

/// Largest batch of an inference. Larger ones only pay with larger models or on a GPU.
pub(super) const BATCH: u16 = 4;
/// The same with `--mode keyframes`, where dozens of pictures arrive per second.
const KEYFRAME_MODE_BATCH: u16 = 16;

/// Where descriptions go, and in which formats.
#[derive(Args)]
#[command(next_help_heading = "Output")]
pub(super) struct OutputArgs {
    /// File or folder to write to, or - for standard output [default: next to each input]
    ///
    /// A name that ends in / is a folder, and so is any name if there are several inputs. descry creates the folder if it
    /// is missing.
    #[arg(short, long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    output: Option<String>,
    /// Output formats, separated by commas
    #[arg(short, long, value_name = "FORMAT", value_enum, value_delimiter = ',', default_value = "vtt")]
    format: Vec<Format>,
    /// Language of the descriptions, for formats that state it: a tag such as en or pt-BR [default: en, or unknown with
    /// --language]
    #[arg(long, value_name = "TAG", value_parser = language_tag)]
    language_tag: Option<String>,
    /// Replace existing output files
    #[arg(long)]
    pub force: bool,
}

fn language_tag(text: &str) -> Result<String, String> {
    language(text).map(|tag| web_language(&tag)).ok_or_else(|| "use a BCP 47 tag, such as en or pt-BR".into())
}

impl OutputArgs {
    /// The targets of each input.
    pub(super) fn plan(&self, inputs: &[Address]) -> Result<Vec<Vec<Target>>> {
        let mut formats = self.format.clone();
        formats.sort_by_key(|f| *f as u8);
        formats.dedup();
        output::plan(inputs, self.output.as_deref(), &formats)
    }

    /// Whether a format shows pictures.
    pub(super) fn has_pictures(&self) -> bool {
        self.format.contains(&Format::Html)
    }

    /// The language of the descriptions of a model, as a tag.
    pub(super) fn language(&self, model: &Model) -> String {
        let asked = model.prompt.as_ref().and_then(|prompt| prompt.options.language.as_deref());
        match (&self.language_tag, asked) {
            (Some(tag), _) => tag.clone(),
            (None, Some(name)) if !name.eq_ignore_ascii_case("English") => "und".into(),
            (None, _) => "en".into(),
        }
    }
}

/// The small pictures of keyframes.
#[derive(Args)]
#[command(next_help_heading = "Thumbnails")]
pub(super) struct ThumbnailArgs {
    /// Width of thumbnails in pixels, 0 to 1280; 0 makes none
    #[arg(long, value_name = "PIXELS", default_value_t = 320, value_parser = clap::value_parser!(u32).range(0..=1280))]
    thumbnail_width: u32,
    /// JPEG quality of thumbnails, 1 to 100
    #[arg(long, value_name = "QUALITY", default_value_t = 80, value_parser = clap::value_parser!(u8).range(1..=100))]
    thumbnail_quality: u8,
}

impl ThumbnailArgs {
    pub(super) fn options(&self) -> ThumbnailOptions {
        ThumbnailOptions { width: self.thumbnail_width, quality: self.thumbnail_quality }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SceneMethod {
    /// Finds cuts, fades and dissolves by how a frame differs from those around it
    Adaptive,
    /// Compares the HSV values of neighbouring frames, like PySceneDetect's ContentDetector
    Content,
    /// Takes a keyframe at fixed intervals
    Fixed,
}

/// How scenes are found, and which keyframes represent them.
#[derive(Args)]
#[command(next_help_heading = "Scenes")]
struct SceneArgs {
    /// How to find scene changes
    #[arg(long, value_name = "METHOD", value_enum, default_value = "adaptive")]
    scenes: SceneMethod,
    /// Change that makes a new scene; lower values find more [default: 3 for adaptive, 27 for content]
    ///
    /// For adaptive, the change of a frame divided by the mean change around it. For content, the mean change of HSV
    /// values, out of 255.
    #[arg(long, value_name = "CHANGE")]
    threshold: Option<f32>,
    /// Time between keyframes with --scenes fixed
    #[arg(long, value_name = "SECONDS", value_parser = values::time, default_value = "5")]
    interval: Time,
    /// Shortest scene
    #[arg(long, value_name = "SECONDS", value_parser = values::time, default_value = "0.6")]
    min_scene: Time,
    /// Take another keyframe when a shot lasts longer than this
    #[arg(long, value_name = "SECONDS", value_parser = values::time, default_value = "8")]
    max_gap: Time,
}

impl SceneArgs {
    fn options(&self) -> SceneOptions {
        let defaults = SceneOptions::default();
        let (ratio, threshold) = match self.scenes {
            SceneMethod::Content => (defaults.ratio, self.threshold.unwrap_or(defaults.threshold)),
            _ => (self.threshold.unwrap_or(defaults.ratio), defaults.threshold),
        };
        SceneOptions {
            detector: match self.scenes {
                SceneMethod::Adaptive => Detector::Adaptive,
                SceneMethod::Content => Detector::Content,
                SceneMethod::Fixed => Detector::Fixed,
            },
            ratio,
            threshold,
            interval: self.interval,
            min_scene: self.min_scene,
            ..defaults
        }
    }
}

/// When a picture counts as a repetition.
#[derive(Args)]
#[command(next_help_heading = "Repetitions")]
pub(super) struct RepetitionArgs {
    /// Similarity from which a picture shows nothing new [default: set by the model]
    ///
    /// The cosine of its embedding and that of the picture before.
    #[arg(long, value_name = "COSINE")]
    same: Option<f32>,
    /// Similarity from which a scene counts as an earlier one that returns [default: set by the model]
    ///
    /// The cosine of its embedding and that of the earlier scene, whose caption it takes.
    #[arg(long, value_name = "COSINE")]
    returning: Option<f32>,
}

impl RepetitionArgs {
    pub(super) fn options(&self, folder: &ModelFolder) -> DedupOptions {
        let measured = DedupOptions::measured(folder.manifest().embedder.as_ref());
        DedupOptions {
            same: self.same.unwrap_or(measured.same),
            returning: self.returning.unwrap_or(measured.returning),
            ..measured
        }
    }
}

/// The layout and timing of cues.
#[derive(Args)]
#[command(next_help_heading = "Cues")]
struct CueArgs {
    /// Characters per line
    #[arg(long, value_name = "N", default_value_t = 42, value_parser = clap::value_parser!(u16).range(8..=500))]
    max_line: u16,
    /// Lines per cue
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=20))]
    max_lines: u16,
    /// Reading speed in characters per second; longer texts are shortened
    #[arg(long, value_name = "N", default_value_t = 17.0)]
    reading_speed: f64,
    /// Shortest cue
    #[arg(long, value_name = "SECONDS", value_parser = values::time, default_value = "1")]
    min_duration: Time,
    /// Longest cue [default: as long as its scene]
    #[arg(long, value_name = "SECONDS", value_parser = values::time)]
    max_duration: Option<Time>,
}

impl CueArgs {
    fn check(&self) -> Result<()> {
        if !(self.reading_speed.is_finite() && self.reading_speed > 0.0) {
            return Err(Error::usage("--reading-speed must be above 0", "17 characters per second is usual."));
        }
        Ok(())
    }

    fn options(&self) -> CueOptions {
        CueOptions {
            max_line: usize::from(self.max_line),
            max_lines: usize::from(self.max_lines),
            reading_speed: self.reading_speed,
            min_duration: self.min_duration,
            max_duration: self.max_duration,
        }
    }
}

/// How captions are searched for, and which are good enough.
#[derive(Args)]
#[command(next_help_heading = "Captions")]
pub(super) struct DecoderArgs {
    /// Number of beams in beam search [default: set by the model]
    #[arg(long, value_name = "N")]
    beam: Option<usize>,
    /// Take the most likely token each time, without beam search
    #[arg(long, conflicts_with = "beam")]
    greedy: bool,
    /// Draw tokens at random from this seed, without beam search
    #[arg(long, value_name = "SEED", conflicts_with_all = ["beam", "greedy"])]
    sample: Option<u64>,
    /// Longest caption, in tokens [default: set by the model]
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// Leave out captions that score lower, 0 to 1 [default: set by the model]
    #[arg(long, value_name = "SCORE")]
    min_score: Option<f32>,
}

impl DecoderArgs {
    pub(super) fn options(&self, batch: usize, session: &SessionOptions) -> CaptionOptions {
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

    pub(super) fn min_score(&self, models: &Models) -> Result<f32> {
        match self.min_score {
            Some(s) if (0.0..=1.0).contains(&s) => Ok(s),
            Some(s) => Err(Error::usage(format!("--min-score {s} is not between 0 and 1"), "0 keeps every caption.")),
            None => Ok(models.captioner.default_min_score()),
        }
    }
}

/// The batch of commands that have no `--mode`.
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub(super) struct BatchArgs {
    /// Largest batch of pictures per inference; larger ones suit larger models and GPUs
    #[arg(long, value_name = "N", default_value_t = BATCH, value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch: u16,
}

impl BatchArgs {
    pub(super) fn size(&self) -> usize {
        usize::from(self.batch)
    }
}

/// How a video is described: the same for single videos, archives and parts.
#[derive(Args)]
pub(super) struct DescriptionArgs {
    #[command(flatten)]
    decode: DecodeArgs,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    speech: SpeechArgs,
    #[command(flatten)]
    pub text: TextArgs,
    #[command(flatten)]
    pub content: ContentArgs,
    #[command(flatten)]
    extended: ExtendedArgs,
    #[command(flatten)]
    answer: AnswerArgs,
}

/// How scenes are found and described.
#[derive(Args)]
pub(super) struct ContentArgs {
    #[command(flatten)]
    scene: SceneArgs,
    #[command(flatten)]
    repetition: RepetitionArgs,
    /// Caption every keyframe, also those that show nothing new
    #[arg(long, help_heading = "Repetitions", conflicts_with_all = ["same", "returning"])]
    no_dedup: bool,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    cue: CueArgs,
    #[command(flatten)]
    decoder: DecoderArgs,
    #[command(flatten)]
    pub model: CaptionModelArgs,
    #[command(flatten)]
    context: ContextArgs,
    /// Largest batch of pictures per inference [default: 4, or 16 with --mode keyframes or a model of the hub]
    ///
    /// Larger batches suit larger models and GPUs.
    #[arg(long, help_heading = "Model", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch: Option<u16>,
}

impl DescriptionArgs {
    /// Refuses options with which no video can be described, or not this number of them.
    pub(super) fn check(&self, videos: usize) -> Result<()> {
        self.decode.check()?;
        self.speech.check(videos)?;
        self.extended.check(&self.content.place)?;
        self.content.check()
    }

    pub(super) fn config(&self, models: &Models) -> Result<Config> {
        let mode = self.decode.frames.mode;
        let content = self.content.config(models, mode)?;
        Ok(Config {
            decode: DecodeOptions {
                access: self.access.policy()?,
                // Of a film whose keyframes alone are read, sound would be most of the work.
                side_track: self.speech.side_track(mode != DecodeMode::Keyframes)?,
                ..self.decode.options()
            },
            dialogue: self.speech.dialogue()?,
            text: self.text.model()?,
            static_text: self.text.static_text(),
            jobs: self.decode.jobs(),
            place: self.extended.apply(content.place),
            ..content
        })
    }

    /// As [`DecodeArgs::spread`].
    pub(super) fn spread(&self, config: &mut Config, videos: usize) {
        self.decode.spread(config, videos);
    }

    /// How decoders are isolated; see [`IsolateArgs::settle`](super::isolate_args::IsolateArgs::settle).
    pub(super) fn isolation(
        &self,
        defaults: &IsolateDefaults,
        reporter: &Reporter,
    ) -> Result<Option<(Isolation, Protection)>> {
        self.decode.frames.isolation(defaults, reporter)
    }

    /// How the models work.
    pub(super) fn model_options(&self, models: &Models) -> Result<ModelOptions> {
        self.content.model_options(models, self.decode.frames.mode, self.answer.language(), None)
    }

    /// The model's stages. `threads` overrides how many an inference uses.
    pub(super) fn stages(&self, models: &Models, threads: Option<usize>) -> Result<Model> {
        let language = self.answer.language();
        self.content.stages(models, self.decode.frames.mode, language, threads)
    }
}

impl ContentArgs {
    /// Refuses options with which no video can be described.
    pub(super) fn check(&self) -> Result<()> {
        self.cue.check()
    }

    /// Options of a run, apart from how videos are decoded.
    pub(super) fn config(&self, models: &Models, mode: DecodeMode) -> Result<Config> {
        let usual = usual_batch(mode);
        Ok(Config {
            scene: self.scene.options(),
            keyframe: KeyframeOptions { max_gap: self.scene.max_gap },
            dedup: if self.no_dedup { DedupOptions::off() } else { self.repetition.options(&models.embedder) },
            bars: self.model.picture.bars(),
            cue: self.cue.options(),
            place: self.place.options(self.cue.min_duration),
            min_score: self.decoder.min_score(models)?,
            encode_batch: usize::from(self.batch.unwrap_or(usual)),
            caption_batch: self.model.caption_batch(models, self.batch, usual),
            ..Config::default()
        })
    }

    /// The model's stages. `language`: of the answers of a model that takes a prompt. `threads` overrides how many an
    /// inference uses.
    pub(super) fn stages(
        &self,
        models: &Models,
        mode: DecodeMode,
        language: Option<String>,
        threads: Option<usize>,
    ) -> Result<Model> {
        Model::of(models, self.model_options(models, mode, language, threads)?)
    }

    /// How the models work; as [`ContentArgs::stages`].
    fn model_options(
        &self,
        models: &Models,
        mode: DecodeMode,
        language: Option<String>,
        threads: Option<usize>,
    ) -> Result<ModelOptions> {
        // With keyframes alone the decoder has little work, and most of it between inferences.
        let session = self.model.session(mode != DecodeMode::Keyframes)?;
        let session = SessionOptions { threads: threads.unwrap_or(session.threads), ..session };
        let batch = self.model.caption_batch(models, self.batch, usual_batch(mode));
        let (encode, caption) =
            (encode_options(batch, &session, &models.embedder), self.decoder.options(batch, &session));
        let prompt = self.model.prompt(self.context.number(), language);
        self.model.options(models, encode, caption, prompt)
    }
}

fn usual_batch(mode: DecodeMode) -> u16 {
    match mode {
        DecodeMode::All | DecodeMode::Fast => BATCH,
        DecodeMode::Keyframes => KEYFRAME_MODE_BATCH,
    }
}

/// Reports videos for which `--mode fast` was in vain.
pub(super) fn report_skipping(stats: &Stats, reporter: &Reporter) {
    if stats.unskippable > 0 {
        reporter.warn(&format!(
            "--mode fast left out no frame of {}: each is needed to decode others, or the format is not H.264, HEVC, \
             MPEG-1 or MPEG-2. The result is that of --mode all",
            count(stats.unskippable, "video")
        ));
    }
}

/// Options of the image tower.
pub(super) fn encode_options(batch: usize, session: &SessionOptions, embedder: &ModelFolder) -> EncodeOptions {
    // A caption batch reads the weights once for all its pictures. The tower gains nothing from more than the caches hold.
    let encode = EncodeOptions { session: session.clone(), ..EncodeOptions::default() };
    EncodeOptions { batch: encode.batch.min(batch), ..encode }.side_by_side(embedder)
}
