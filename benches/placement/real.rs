//! Films whose pictures are real: their sound is replaced by a dialogue that is known to the sample, and descry describes them.
//!
//! descry is not told where people talk: it finds speech by itself, as it finds scenes and writes captions. The greedy rule gets
//! the scenes, captions and speech that descry found. What is spoken over speech is measured against the dialogue itself.

use std::path::Path;
use std::process::Command;

use descry::time::Time;
use descry::track::place::{PlaceableScene, SceneNovelty};
use fastrand::Rng;
use serde_json::Value;

use super::common::{ffmpeg, run};
use super::dialogue::Voices;
use super::made_up::KINDS;
use super::rules::{Film, Spoken, Utterances, appearing, greedy, overlap, secs};
use super::sums::{Sums, add, head, print};

/// Dialogues for each film and each kind of them.
const TAKES: usize = 2;
/// What is compared: the name, and what descry is asked for; none for the greedy rule, with its rest in seconds.
const RULES: [(&str, &[&str], f64); 6] = [
    ("free", &["--place", "free"], 0.0),
    ("greedy, 0 s", &[], 0.0),
    ("strict, 0 s", &["--place", "strict", "--rest", "0"], 0.0),
    ("greedy", &[], 2.0),
    ("strict", &["--place", "strict"], 2.0),
    ("pauses", &["--place", "pauses"], 2.0),
];

/// What was found of the speech, in seconds.
#[derive(Default)]
struct Found {
    length: f64,
    speech: f64,
    known: f64,
    both: f64,
    scenes: usize,
}

/// Describes films with dialogues, and prints how it sounds.
pub(crate) fn films(films: &[impl AsRef<Path>], seed: u64, voices: &Voices, each: bool) {
    let mut all: Vec<Sums> = RULES.map(|_| Sums::default()).into();
    let mut found = Found::default();
    for (n, path) in films.iter().map(AsRef::as_ref).enumerate() {
        let mut own: Vec<Sums> = RULES.map(|_| Sums::default()).into();
        let mut own_found = Found::default();
        for take in 0..TAKES * KINDS.len() {
            let seed = (seed * 1_000 + n as u64) * 100 + take as u64;
            let (film, spoken) = describe(path, seed, KINDS[take % KINDS.len()], voices)
                .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            for (rule, spoken) in spoken.iter().enumerate() {
                add(&mut own[rule], &film, spoken);
                add(&mut all[rule], &film, spoken);
            }
            own_found.add(&film);
            found.add(&film);
        }
        if each {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            table(&format!("{name}, {} dialogues", TAKES * KINDS.len()), &own_found, &own);
        }
    }
    let count = films.len() * TAKES * KINDS.len();
    table(&format!("{} films with synthesised dialogue, {count} in all", films.len()), &found, &all);
}

fn table(name: &str, found: &Found, sums: &[Sums]) {
    let share = |part: f64, whole: f64| 100.0 * part / whole.max(1e-9);
    println!(
        "\n{name}: {:.1} minutes, speech {:.0} % of the time, of which descry finds {:.1} %; {:.1} % of what it finds is none; {} scenes",
        found.length / 60.0,
        share(found.speech, found.length),
        share(found.both, found.speech),
        share(found.known - found.both, found.known),
        found.scenes,
    );
    head();
    RULES.iter().zip(sums).for_each(|(rule, sums)| print(rule.0, sums));
}

impl Found {
    fn add(&mut self, film: &Film) {
        let sum = |speech: &Utterances| speech.iter().map(|s| (s.1 - s.0).secs()).sum::<f64>();
        self.length += film.length;
        self.speech += sum(&film.speech);
        self.known += sum(&film.known);
        self.both += film.known.iter().map(|s| overlap(&film.speech, s.0, s.1).secs()).sum::<f64>();
        self.scenes += film.scenes.iter().filter(|s| s.text.is_some()).count();
    }
}

/// A film with a dialogue, and what is spoken in it by each rule.
fn describe(
    path: &Path,
    seed: u64,
    kind: (&str, f64, f64, f64),
    voices: &Voices,
) -> anyhow::Result<(Film, Vec<Vec<Spoken>>)> {
    let mut rng = Rng::with_seed(seed);
    let length = duration(path)?;
    let folder = tempfile::tempdir()?;
    let (sound, clip) = (folder.path().join("dialogue.wav"), folder.path().join("film.mkv"));
    let speech = voices.write(&sound, &mut rng, length, (kind.2, kind.3))?;
    let mut mixed = ffmpeg("");
    mixed.arg("-i").arg(path).arg("-i").arg(&sound);
    run(mixed.args("-map 0:v:0 -map 1:a -c:v copy -c:a flac".split(' ')).arg(&clip));
    let mut film = Film { scenes: Vec::new(), speech, known: Vec::new(), length };
    let mut spoken = Vec::new();
    for (name, arguments, rest) in RULES {
        if arguments.is_empty() {
            spoken.push(greedy(&film, rest));
            continue;
        }
        let document = described(&clip, arguments)?;
        if name == "free" {
            film.scenes = scenes(&document);
            film.known = list(&document["speech"]["segments"]).map(times).collect();
            let text = |cue: &Value| (times(cue).0, cue["text"].as_str().unwrap_or_default().to_string());
            spoken.push(appearing(&film, list(&document["cues"]).map(text)));
        } else {
            spoken.push(list(&document["placement"]["placed"]).map(placed).collect());
        }
    }
    Ok((film, spoken))
}

/// The length of a film, in seconds.
fn duration(path: &Path) -> anyhow::Result<f64> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0"]).arg(path);
    Ok(String::from_utf8(command.output()?.stdout)?.trim().parse()?)
}

/// Everything that descry knows about a film.
fn described(clip: &Path, arguments: &[&str]) -> anyhow::Result<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_descry"));
    let out = command.args(["--quiet", "describe", "-f", "json", "-o", "-"]).args(arguments).arg(clip).output()?;
    anyhow::ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Ok(serde_json::from_slice(&out.stdout)?)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn times(value: &Value) -> (Time, Time) {
    let time = |key: &str| secs(value[key].as_f64().unwrap_or_default());
    (time("start"), time("end"))
}

/// The scenes as the placer gets them.
fn scenes(document: &Value) -> Vec<PlaceableScene> {
    let mut last = None;
    let scene = |(n, scene): (usize, &Value)| {
        let (start, end) = times(scene);
        let first = scene["repeats"].as_u64().map_or(n, |first| first as usize);
        let novelty = match first {
            first if first == n => SceneNovelty::New,
            first if last == Some(first) => SceneNovelty::Same,
            _ => SceneNovelty::Returning,
        };
        if scene["text"].is_string() {
            last = Some(first);
        }
        let text = scene["text"].as_str().filter(|_| scene["said"] == true).map(str::to_string);
        PlaceableScene { start, end, text, score: scene["score"].as_f64().map(|s| s as f32), novelty }
    };
    list(&document["scenes"]).enumerate().map(scene).collect()
}

fn placed(cue: &Value) -> Spoken {
    let (start, end) = times(cue);
    let scene = |n: usize| cue["scenes"][n].as_u64().unwrap_or_default() as usize;
    Spoken {
        scenes: scene(0)..scene(1) + 1,
        texts: cue["merged"].as_u64().unwrap_or(1) as usize,
        start,
        end,
        text: cue["text"].as_str().unwrap_or_default().to_string(),
        cut: false,
    }
}
