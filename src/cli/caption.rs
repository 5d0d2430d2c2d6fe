//! `descry caption`: still pictures in, one caption per picture, or per group of them, out.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::args::{BATCH, DecoderArgs, encode_options};
use super::model_args::{AnswerArgs, CaptionModelArgs, StillArgs, cores};
use super::pictures;
use super::reporter::Reporter;
use super::stats_args::StatsArgs;
use super::stdout::{print_fields, print_json};
use crate::error::Result;
use crate::interrupt::Interrupt;
use crate::model::{Caption, CaptionOptions, Encoded};
use crate::pipeline::{self, Model, StillOptions};

const EXAMPLES: &str = "\
Examples:
  descry caption a.jpg b.png               Print each picture's name and caption
  descry caption photos/ --json            One JSON object per picture of a folder";

/// Caption still pictures
///
/// Prints a line for each picture: its name and its caption, separated by a tab. With --frames N, N pictures that follow one
/// another have one caption and the name of the first; the last ones may be fewer. Reads JPEG, PNG, WebP, BMP, GIF (the first
/// frame) and TIFF.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CaptionArgs {
    /// Pictures, or folders of pictures (one level deep)
    #[arg(required = true, value_name = "PICTURE")]
    inputs: Vec<PathBuf>,
    #[command(flatten)]
    stills: StillArgs,
    /// Print one JSON object per picture
    ///
    /// Its fields are image, text, ids (the tokens), score, mean_logprob, and said (whether the score reaches --min-score).
    /// A model with a word detector adds word_support (the log-probability of each token's word being right for the picture,
    /// 0 for words that say nothing about it), and the mean and the minimum of those below 0, mean_support and least_support.
    /// With --frames, images has the names of all pictures of the group.
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Add the embedding, of length 1, to the JSON
    ///
    /// With --frames, it is that of the group's first picture.
    #[arg(long, help_heading = "Output", requires = "json")]
    embedding: bool,
    #[command(flatten)]
    stats: StatsArgs,
    #[command(flatten)]
    decoder: DecoderArgs,
    #[command(flatten)]
    model: CaptionModelArgs,
    #[command(flatten)]
    answer: AnswerArgs,
    /// Do not split pictures into tiles, even if the processor of a model of the hub says so
    ///
    /// Tiles show more detail, and each costs as much as a picture.
    #[arg(long, help_heading = "Model")]
    whole_pictures: bool,
    /// Largest batch of pictures per inference [default: 4, or 16 with a model of the hub]
    ///
    /// Larger batches suit larger models and GPUs.
    #[arg(long, help_heading = "Model", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch: Option<u16>,
}

pub(super) fn run(args: &CaptionArgs, reporter: &Reporter, interrupt: &Interrupt) -> Result<()> {
    let models = args.model.load()?;
    let session = args.model.session(false)?;
    let batch = args.model.caption_batch(&models, args.batch, BATCH);
    let min_score = args.decoder.min_score(&models)?;
    let encode = encode_options(batch, &session, &models.embedder);
    let caption = CaptionOptions { split_pictures: !args.whole_pictures, ..args.decoder.options(batch, &session) };
    let model = Model::of(
        &models,
        args.model.options(&models, encode, caption, args.model.prompt(None, args.answer.language()))?,
    )?;
    let paths = pictures::find(&args.inputs, reporter);
    let groups: Vec<&[PathBuf]> = paths.chunks(model.demand.count.max(1)).collect();
    let options = StillOptions {
        batch,
        readers: cores().min(batch),
        bars: args.model.picture.bars(),
        pictures: args.stills.options(),
        embeddings: args.embedding,
    };
    let stats = pipeline::stills(&paths, options, model, interrupt, |number, still| match still {
        Ok((encoded, caption)) => {
            let reached = caption.reaches(min_score);
            print_caption(args, groups[number], &encoded, &caption, reached)
        }
        Err(e) => {
            reporter.error(&e);
            Ok(true)
        }
    })?;
    args.stats.report(&stats, None, reporter);
    Ok(())
}

/// Prints the line of a group of pictures. `reached`: its caption reached the lowest score.
fn print_caption(
    args: &CaptionArgs,
    group: &[PathBuf],
    encoded: &Encoded,
    caption: &Caption,
    reached: bool,
) -> Result<bool> {
    let names: Vec<String> = group.iter().map(|path| path.display().to_string()).collect();
    let first = names.first().map_or("", String::as_str);
    if args.json {
        let mut object = json!({ "image": first, "text": caption.text, "ids": caption.ids,
            "score": caption.score, "mean_logprob": caption.mean_logprob, "said": reached });
        if args.model.frames().is_some_and(|frames| frames > 1) {
            object["images"] = json!(names);
        }
        if let Some(support) = &caption.support {
            object["mean_support"] = json!(support.mean());
            object["least_support"] = json!(support.least());
            object["word_support"] = json!(support.tokens);
        }
        if args.embedding {
            object["embedding"] = json!(encoded.unit());
        }
        return print_json(&object);
    }
    // A language model may emit line breaks and tabs, which would break up the picture's line.
    let words: Vec<&str> = caption.text.split_whitespace().collect();
    print_fields(&[first, &if reached { words.join(" ") } else { String::new() }])
}
