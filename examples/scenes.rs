//! Prints the scene changes of a file, one JSON object per line: `scenes [--fast] [--content | --keyframes | --live] FILE`.
//!
//! `--content` uses the detector with a fixed threshold. `--keyframes` prints the keyframes instead. `--live` prints those that
//! live mode would choose: the start of each scene, the time of its picture, and the time at which it was chosen.
//! `--fast` decodes as `--mode fast`. `benches/scene_quality.py` reads this output.

use std::io::Write;
use std::process::ExitCode;

use descry::interrupt::Interrupt;
use descry::media::{DecodeOptions, DecodedFrames, Source};
use descry::scene::{
    Boundary, Detector, Keyframe, KeyframeOptions, KeyframeSelector, SceneDetector, SceneOptions, Watcher,
    WatcherOptions,
};
use descry::time::Time;

fn main() -> ExitCode {
    let (mut options, mut keyframes, mut live, mut file) = (SceneOptions::default(), false, false, None);
    let mut decode = DecodeOptions::default();
    for arg in std::env::args().skip(1) {
        match arg.as_str() {
            "--content" => options.detector = Detector::Content,
            "--fast" => decode.frames = DecodedFrames::Fast,
            "--keyframes" => keyframes = true,
            "--live" => live = true,
            _ => file = Some(arg),
        }
    }
    let Some(file) = file else {
        eprintln!("usage: scenes [--fast] [--content | --keyframes | --live] FILE");
        return ExitCode::from(2);
    };
    let printed = if live { print_live(&file, &decode) } else { print_scenes(&file, &decode, &options, keyframes) };
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn print_live(file: &str, decode: &DecodeOptions) -> anyhow::Result<()> {
    let mut source = Source::open(&file.into(), decode, Interrupt::new())?;
    let mut watcher = Watcher::new(&WatcherOptions::default());
    let mut out = std::io::stdout().lock();
    while let Some(frame) = source.next()? {
        let now = frame.time.secs();
        if let Some(k) = watcher.push(frame.thumb()?, (), Time::ZERO) {
            let (at, picture) = (k.start.secs(), k.time.secs());
            writeln!(out, "{{\"at\": {at:.6}, \"picture\": {picture:.6}, \"chosen\": {now:.6}}}")?;
        }
    }
    Ok(())
}

fn print_scenes(file: &str, decode: &DecodeOptions, options: &SceneOptions, keyframes: bool) -> anyhow::Result<()> {
    let mut source = Source::open(&file.into(), decode, Interrupt::new())?;
    let mut detector = SceneDetector::new(options);
    let mut selector = KeyframeSelector::new(options, &KeyframeOptions::default());
    let mut out = std::io::stdout().lock();
    while let Some(frame) = source.next()? {
        let thumb = frame.thumb()?;
        if keyframes {
            for k in selector.push(thumb, ()) {
                writeln!(out, "{}", keyframe(&k))?;
            }
        } else {
            for b in detector.push(&thumb) {
                writeln!(out, "{}", boundary(&b))?;
            }
        }
    }
    for b in detector.finish() {
        writeln!(out, "{}", boundary(&b))?;
    }
    for k in selector.finish(source.end()) {
        writeln!(out, "{}", keyframe(&k))?;
    }
    Ok(())
}

fn boundary(b: &Boundary) -> serde_json::Value {
    serde_json::json!({
        "at": b.at.secs(), "index": b.index, "transition": b.transition.name(),
        "from": b.from.secs(), "to": b.to.secs(), "score": b.score,
    })
}

fn keyframe(k: &Keyframe<()>) -> serde_json::Value {
    serde_json::json!({
        "scene": k.scene, "start": k.start.secs(), "end": k.end.secs(), "time": k.time.secs(), "index": k.index,
        "transition": k.transition.name(), "blank": k.blank, "quality": k.quality,
    })
}
