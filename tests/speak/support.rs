//! Films, a voice that is the same everywhere, and measurements.

use std::process::Command;

use crate::common::{Bench, root};

/// Samples a second of everything that is measured.
pub(crate) const RATE: usize = 48_000;

/// The voice of the tests: a rising tone.
pub(crate) fn voice() -> String {
    format!("python3 {}/tests/speak/voice.py", root().display())
}

/// Descriptions of a start in milliseconds and a text, each with a cue of a second.
pub(crate) fn descriptions(b: &Bench, texts: &[(u32, &str)]) {
    let stamp =
        |ms: u32| format!("{:02}:{:02}:{:02}.{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000);
    let cues: Vec<String> = texts
        .iter()
        .map(|(start, text)| format!("\n{} --> {}\n{text}\n", stamp(*start), stamp(start + 1_000)))
        .collect();
    b.write("film.vtt", format!("WEBVTT\n{}", cues.concat()).as_bytes());
}

/// Runs `descry speak` with the voice of the tests, and checks the exit code. Returns standard error.
pub(crate) fn speak(b: &Bench, input: &str, output: &str, more: &[&str], code: i32) -> String {
    let voice = voice();
    let args = ["speak", input, "--descriptions", "film.vtt", "-o", output, "--voice-command", &voice];
    b.run(&[&args, more].concat(), code).1
}

/// What a program prints on standard output and standard error, in one text.
pub(crate) fn output_of(b: &Bench, program: &str, args: &str) -> String {
    let out = Command::new(program).args(args.split_whitespace()).current_dir(b.path("")).output().unwrap();
    assert!(out.status.success(), "{program} {args}\n{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
}

/// The samples of a stream, decoded by FFmpeg's program, of one channel.
pub(crate) fn samples(b: &Bench, name: &str, stream: &str) -> Vec<f32> {
    b.ffmpeg(&format!("-i {name} -map 0:{stream} -af pan=mono|c0=c0,aresample={RATE} -f f32le samples.raw"));
    let bytes = std::fs::read(b.path("samples.raw")).unwrap();
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// What the voice says, at the rate of the measurements.
pub(crate) fn spoken(b: &Bench, text: &str) -> Vec<f32> {
    b.write("text.txt", text.as_bytes());
    let line = format!("{} <text.txt >spoken.wav", voice());
    assert!(Command::new("sh").args(["-c", &line]).current_dir(b.path("")).status().unwrap().success());
    samples(b, "spoken.wav", "a:0")
}

/// When a sound begins in another, in seconds: where its first quarter of a second and the other are most alike, searched from
/// `from` to `to`.
pub(crate) fn find(sound: &[f32], within: &[f32], from: f64, to: f64) -> f64 {
    let sound = &sound[..sound.len().min(RATE / 4)];
    let at = |secs: f64| (secs * RATE as f64) as usize;
    let last = within.len().saturating_sub(sound.len());
    let likeness = |place: usize| -> f32 { sound.iter().zip(&within[place..]).map(|(a, b)| a * b).sum() };
    let best_of = |from: usize, to: usize, step: usize| {
        let places = (from..=to.min(last)).step_by(step).map(|place| (likeness(place), place));
        places.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap().1
    };
    // A tone of 500 to 1,000 Hz has periods of 48 samples and more.
    let near = best_of(at(from), at(to), 6);
    let best = best_of(near.saturating_sub(6), near + 6, 1);
    let energy = |samples: &[f32]| samples.iter().map(|s| s * s).sum::<f32>();
    let alike = likeness(best) / (energy(sound) * energy(&within[best..best + sound.len()])).sqrt();
    assert!(alike > 0.3, "the sound is not there: {alike}");
    best as f64 / RATE as f64
}

/// Amplitude of a frequency in Hz from a time in seconds on, over 50 ms, in dB.
pub(crate) fn level(samples: &[f32], frequency: f64, from: f64) -> f64 {
    let start = (from * RATE as f64) as usize;
    let piece = &samples[start..start + RATE / 20];
    let (mut real, mut imaginary) = (0.0, 0.0);
    for (n, sample) in piece.iter().enumerate() {
        let turn = std::f64::consts::TAU * frequency * n as f64 / RATE as f64;
        real += f64::from(*sample) * turn.cos();
        imaginary += f64::from(*sample) * turn.sin();
    }
    20.0 * (2.0 * real.hypot(imaginary) / piece.len() as f64).max(1e-9).log10()
}

/// Integrated loudness in LUFS and true peak in dBTP of a stream, by FFmpeg's own meter.
pub(crate) fn loudness(b: &Bench, name: &str, stream: &str) -> (f64, f64) {
    let text = output_of(b, "ffmpeg", &format!("-nostats -i {name} -map 0:{stream} -af ebur128=peak=true -f null -"));
    let number = |label: &str, unit: &str| -> f64 {
        let line = text.lines().rev().find(|l| l.trim().starts_with(label) && l.trim().ends_with(unit)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    (number("I:", "LUFS"), number("Peak:", "dBFS"))
}

/// What ffprobe says about the streams of a file: a line each.
pub(crate) fn streams(b: &Bench, name: &str) -> Vec<String> {
    let args = "-v error -show_entries stream=codec_type,codec_name,channels,sample_rate:stream_disposition=default,\
                visual_impaired,descriptions:stream_tags=language,title,handler_name -of compact=p=0";
    output_of(b, "ffprobe", &format!("{args} {name}")).lines().map(String::from).collect()
}

/// Hashes of the packets of the first streams of a file, as they are stored.
pub(crate) fn packet_hashes(b: &Bench, name: &str, streams: &[&str]) -> Vec<String> {
    let maps: Vec<String> = streams.iter().map(|s| format!("-map 0:{s}")).collect();
    let text = output_of(b, "ffmpeg", &format!("-v error -i {name} {} -c copy -f streamhash -", maps.join(" ")));
    text.lines().map(String::from).collect()
}

/// The files of the folder, apart from those that measurements leave there.
pub(crate) fn files(b: &Bench) -> Vec<String> {
    let names = std::fs::read_dir(b.path("")).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}
