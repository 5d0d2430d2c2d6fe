//! `descry embed`: pictures or texts in, embeddings out.

use std::io::{self, BufRead};
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::model_args::{ModelArgs, PictureArgs, StillArgs, cores};
use super::pictures;
use super::reporter::Reporter;
use super::stats_args::StatsArgs;
use super::stdout::print_json;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::model::{Encode, EncodeOptions, ImageEncoder, Load, TextEncoder};
use crate::pipeline::{self, StillOptions};

/// Lines of text that are embedded together.
const TEXTS: usize = 64;

const EXAMPLES: &str = "\
Examples:
  descry embed photos/                     Embed the pictures of a folder
  descry embed --text < queries.txt        Embed texts, one per line";

/// Compute the embeddings of pictures or texts
///
/// Prints one JSON object per picture or text. Embeddings have length 1. Pictures and texts share one space: the dot product
/// of two embeddings is their similarity.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct EmbedArgs {
    /// Pictures, or folders of pictures (one level deep)
    #[arg(value_name = "PICTURE", required_unless_present = "text", conflicts_with = "text")]
    inputs: Vec<PathBuf>,
    /// Embed texts instead, one per line of standard input
    #[arg(long, help_heading = "Input", conflicts_with = "keep_bars")]
    text: bool,
    #[command(flatten)]
    stills: StillArgs,
    #[command(flatten)]
    stats: StatsArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    picture: PictureArgs,
}

pub(super) fn run(args: &EmbedArgs, reporter: &Reporter, interrupt: &Interrupt) -> Result<()> {
    if args.text { embed_texts(&args.model, interrupt) } else { embed_pictures(args, reporter, interrupt) }
}

fn embed_pictures(args: &EmbedArgs, reporter: &Reporter, interrupt: &Interrupt) -> Result<()> {
    let folder = args.model.load()?;
    let session = args.model.session(false)?;
    let encode = EncodeOptions { session, ..EncodeOptions::default() }.side_by_side(&folder);
    let batch = encode.batch * encode.sessions;
    let image = folder.manifest().image.clone();
    let encoder: Load<dyn Encode> = Box::new(move || Ok(Box::new(ImageEncoder::new(&folder, &encode)?)));
    let paths = pictures::find(&args.inputs, reporter);
    let options = StillOptions {
        batch,
        readers: cores(),
        bars: args.picture.bars(),
        pictures: args.stills.options(),
        ..StillOptions::default()
    };
    let stats = pipeline::embeddings(&paths, options, (&image, encoder), interrupt, |number, encoded| match encoded {
        Ok(e) => print_json(&json!({ "image": paths[number].display().to_string(), "embedding": e.unit() })),
        Err(e) => {
            reporter.error(&e);
            Ok(true)
        }
    })?;
    args.stats.report(&stats, None, reporter);
    Ok(())
}

fn embed_texts(args: &ModelArgs, interrupt: &Interrupt) -> Result<()> {
    let folder = args.load()?;
    let mut encoder = TextEncoder::new(&folder, &args.session(false)?)?;
    let mut lines = io::stdin().lock().lines();
    loop {
        let read = interrupt.endure(|| lines.by_ref().take(TEXTS).collect::<io::Result<_>>())?;
        let read: Vec<String> =
            read.map_err(|e| Error::input("standard input", e.to_string(), "Give texts in UTF-8, one per line."))?;
        if read.is_empty() || interrupt.is_set() {
            return Ok(());
        }
        let texts: Vec<&str> = read.iter().map(String::as_str).collect();
        for (text, embedding) in texts.iter().zip(encoder.embed(&texts)?) {
            if !print_json(&json!({ "text": text, "embedding": embedding }))? {
                return Ok(());
            }
        }
    }
}
