//! Reads the text in pictures, and prints one JSON object per picture: `read_text [--film] PICTURE…`.
//!
//! Each line has its corners in pixels, clockwise from where its text begins at the top, what it says, and its score. Pictures
//! are read as by PaddleOCR's defaults, or with `--film` as frames of films are. `benches/text_parity.py` reads this output.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use descry::media::{PictureOptions, open_picture};
use descry::model::SessionOptions;
use descry::ocr::{OcrOptions, TextLine, TextModel};
use serde_json::{Value, json};

fn main() -> ExitCode {
    let (films, pictures): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|arg| arg == "--film");
    if pictures.is_empty() {
        eprintln!("usage: read_text [--film] PICTURE…");
        return ExitCode::from(2);
    }
    let options = if films.is_empty() { OcrOptions::default() } else { OcrOptions::of_film() };
    match print_lines(&pictures, options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn print_lines(pictures: &[String], options: OcrOptions) -> anyhow::Result<()> {
    let session = SessionOptions { threads: 1, ..SessionOptions::default() };
    let mut reader = TextModel::load()?.reader(&session, options)?;
    let mut out = std::io::stdout().lock();
    for name in pictures {
        let lines = reader.read(&open_picture(Path::new(name), &PictureOptions::default())?)?;
        let lines: Vec<Value> = lines.iter().map(json_of).collect();
        writeln!(out, "{}", json!({ "picture": name, "lines": lines }))?;
    }
    Ok(())
}

fn json_of(line: &TextLine) -> Value {
    json!({ "corners": line.corners.map(|p| [p.x, p.y]), "text": line.text, "score": line.score })
}
