//! `descry probe`: what inputs contain.

use clap::Args;

use super::access_args::AccessArgs;
use super::reporter::Reporter;
use super::stdout::{print_json, print_line};
use crate::address::Address;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::DecodeOptions;
use crate::media::probe::probe;

const EXAMPLES: &str = "\
Examples:
  descry probe film.mp4                    Print streams, duration, size and rotation
  descry probe *.mp4 --json                One JSON object per video";

/// Show what a video contains and what descry would describe
///
/// Decodes only the first frame of each input.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ProbeArgs {
    /// Video files or URLs: http, https, s3, or another one that FFmpeg reads
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<Address>,
    /// Print one JSON object per input
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    access: AccessArgs,
}

pub(super) fn run(args: &ProbeArgs, reporter: &Reporter, interrupt: &Interrupt) -> Result<()> {
    let options = DecodeOptions { access: args.access.policy()?, ..DecodeOptions::default() };
    for input in &args.inputs {
        match probe(input, &options, interrupt.clone()) {
            Ok(found) => {
                let more = if args.json { print_json(&found) } else { print_line(&found.to_string()) };
                if !more? {
                    return Ok(());
                }
            }
            Err(Error::Interrupted) => return Ok(()),
            Err(e) => reporter.error(&e),
        }
    }
    Ok(())
}
