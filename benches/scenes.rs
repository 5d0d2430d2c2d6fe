//! Decoding and scene detection of a 1080p30 H.264 film, compared with FFmpeg's `select` filter and PySceneDetect.
//!
//! `make bench`, or `cargo bench --bench scenes [-- ROUNDS]`. Every contestant reads the same file, in turn, with as many
//! decoder threads as it chooses.

mod common;

use std::path::Path;
use std::process::Command;

use common::{ffmpeg, minute, race, run, verdict};
use descry::interrupt::Interrupt;
use descry::media::{DecodeOptions, Source};
use descry::scene::{SceneDetector, SceneOptions};

const PYSCENEDETECT: &str = "import sys, scenedetect as s
print(len(s.detect(sys.argv[1], s.AdaptiveDetector())))";

fn scenes(clip: &Path) -> usize {
    let mut source = Source::open(&clip.display().to_string().into(), &DecodeOptions::default(), Interrupt::new())
        .expect("the clip opens");
    let mut detector = SceneDetector::new(&SceneOptions::default());
    let mut found = 1;
    while let Some(frame) = source.next().expect("the clip decodes") {
        found += detector.push(&frame.thumb().expect("a thumb")).len();
    }
    found + detector.finish().len()
}

fn main() {
    let rounds = std::env::args().filter_map(|a| a.parse().ok()).next().unwrap_or(5);
    let clip = minute();
    println!("scenes found in {}: {}", clip.file_name().unwrap_or_default().display(), scenes(&clip));
    let input = format!("-i {}", clip.display());
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("vendor/venv/bin/python");
    let rival = Command::new(&python).args(["-c", "import scenedetect"]).output().is_ok_and(|o| o.status.success());
    let mut runners: Vec<common::Runner> = vec![
        ("descry: decode + scene detection", Box::new(|| assert!(scenes(&clip) > 1))),
        ("ffmpeg -i F -f null -", Box::new(|| run(ffmpeg(&input).args(["-an", "-f", "null", "-"])))),
        (
            "ffmpeg -i F -vf select='gt(scene,0.3)' -f null -",
            Box::new(|| run(ffmpeg(&input).args(["-an", "-vf", "select='gt(scene,0.3)'", "-f", "null", "-"]))),
        ),
    ];
    if rival {
        let detect = || run(Command::new(&python).args(["-c", PYSCENEDETECT]).arg(&clip));
        runners.push(("PySceneDetect, AdaptiveDetector", Box::new(detect)));
    } else {
        println!("PySceneDetect is not installed: `make bench` installs it");
    }
    let seconds = race(rounds, &mut runners);
    verdict("speed compared with decoding alone", seconds[1] / seconds[0], 0.0);
    verdict("speed compared with ffmpeg's select", seconds[2] / seconds[0], 1.0);
    if rival {
        verdict("speed compared with PySceneDetect", seconds[3] / seconds[0], 1.6);
    }
}
