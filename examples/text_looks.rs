//! Prints the frames of a film in which text would be read, one JSON object per look: `text_looks FILE`.
//!
//! A look has its time in seconds, its reason, and its regions: left, top, width and height as shares of the picture.
//! `benches/text_quality.py` reads this output.

use std::io::Write;
use std::process::ExitCode;

use descry::interrupt::Interrupt;
use descry::media::{DecodeOptions, Source};
use descry::ocr::{Look, TextGate};
use descry::time::Time;
use serde_json::json;

fn main() -> ExitCode {
    let Some(file) = std::env::args().nth(1) else {
        eprintln!("usage: text_looks FILE");
        return ExitCode::from(2);
    };
    match print_looks(&file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn print_looks(file: &str) -> anyhow::Result<()> {
    let mut source = Source::open(&file.into(), &DecodeOptions::default(), Interrupt::new())?;
    let mut gate = TextGate::default();
    let mut last = Time::ZERO;
    while let Some(frame) = source.next()? {
        let map = frame.strokes()?;
        print_look(last, gate.before(&map))?;
        print_look(frame.time, gate.push(frame.time, &map))?;
        last = frame.time;
    }
    print_look(last, gate.finish())
}

fn print_look(at: Time, look: Option<Look>) -> anyhow::Result<()> {
    let Some(Look { reason, regions }) = look else { return Ok(()) };
    let line = json!({ "at": at.secs(), "reason": format!("{reason:?}"), "regions": regions });
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
