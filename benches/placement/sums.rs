//! What films sound like, in figures.

use descry::track::place::SceneNovelty;

use super::rules::{Film, Spoken, overlap, secs};

/// For how long a text that was spoken is remembered.
const LATELY: f64 = 60.0;

/// Sums over films.
#[derive(Default)]
pub(crate) struct Sums {
    films: f64,
    /// New scenes, and how many of them are described, in pauses too.
    scenes: f64,
    described: f64,
    clear: f64,
    /// New scenes whose text is heard with them, or was heard in the minute before.
    heard: f64,
    /// What these are worth, however many of their words are heard.
    heard_value: f64,
    /// The new scenes and those that are described, weighted with the length of the scenes, up to 10 s.
    seconds: f64,
    described_seconds: f64,
    cues: f64,
    repeated: f64,
    fragments: f64,
    cut: f64,
    spoken: f64,
    over_speech: f64,
    late: f64,
    early: f64,
    behind: f64,
    /// Begins less than half a second after another.
    restless: f64,
    /// Words of the new scenes, and those that are heard in pauses.
    words: f64,
    clear_words: f64,
    /// What the new scenes are worth, score times seconds, and what is heard of that in pauses. Half of the words are worth
    /// three quarters.
    value: f64,
    clear_value: f64,
}

/// Adds a film and what is spoken in it.
pub(crate) fn add(sums: &mut Sums, film: &Film, spoken: &[Spoken]) {
    let length = |n: usize| (film.scenes[n].end - film.scenes[n].start).secs().min(10.0);
    let new = |n: &usize| film.scenes[*n].novelty == SceneNovelty::New && film.scenes[*n].text.is_some();
    let all: Vec<usize> = (0..film.scenes.len()).filter(new).collect();
    sums.films += film.length / 3_600.0;
    sums.scenes += all.len() as f64;
    let heard: Vec<usize> = all.iter().copied().filter(|&n| is_heard(film, n, spoken)).collect();
    sums.heard += heard.len() as f64;
    sums.seconds += all.iter().map(|&n| length(n)).sum::<f64>();
    let value = |n: usize| f64::from(film.scenes[n].score.unwrap_or(1.0)) * length(n);
    sums.heard_value += heard.iter().map(|&n| value(n)).sum::<f64>();
    sums.value += all.iter().map(|&n| value(n)).sum::<f64>();
    let words = |n: usize| film.scenes[n].text.as_deref().unwrap_or_default().split(' ').count() as f64;
    sums.words += all.iter().map(|&n| words(n)).sum::<f64>();
    for pair in spoken.windows(2) {
        sums.restless += f64::from(u8::from(pair[1].start - pair[0].end < secs(0.5)));
    }
    for cue in spoken {
        let (first, last) = (&film.scenes[cue.scenes.start], &film.scenes[cue.scenes.end - 1]);
        let over = overlap(&film.speech, cue.start, cue.end).secs();
        let new: Vec<usize> = cue.scenes.clone().filter(new).collect();
        sums.cues += 1.0;
        sums.repeated += f64::from(u8::from(new.is_empty()));
        sums.fragments += f64::from(u8::from(cue.text.split(' ').count() < 3));
        sums.cut += f64::from(u8::from(cue.cut));
        sums.spoken += (cue.end - cue.start).secs();
        sums.over_speech += over;
        sums.late += (cue.start - first.start).secs().max(0.0);
        sums.early += f64::from(u8::from(first.start - cue.start > secs(0.1)));
        sums.behind += (cue.end - last.end).secs().max(0.0);
        if !cue.cut {
            sums.described += new.len() as f64;
            sums.described_seconds += new.iter().map(|&n| length(n)).sum::<f64>();
            let clear = over < 0.001;
            sums.clear += if clear { new.len() as f64 } else { 0.0 };
            // Of a sentence that several scenes share, "then" is no word of theirs.
            let (whole, said) =
                (new.iter().map(|&n| words(n)).sum::<f64>(), cue.text.split(' ').count() - cue.texts.min(2) + 1);
            let complete = 1.0 - (1.0 - (said as f64 / whole.max(1.0)).min(1.0)).powi(2);
            sums.clear_value += if clear { complete * new.iter().map(|&n| value(n)).sum::<f64>() } else { 0.0 };
            sums.clear_words += if clear && !new.is_empty() { cue.text.split(' ').count() as f64 } else { 0.0 };
        }
    }
}

/// Whether the text of a scene is heard with it, or was heard a short time before.
fn is_heard(film: &Film, n: usize, spoken: &[Spoken]) -> bool {
    let scene = &film.scenes[n];
    let Some(text) = scene.text.as_deref().map(plain) else { return false };
    let says = |cue: &Spoken| cue.text.split("; ").map(plain).any(|said| said == text);
    let lately = |cue: &Spoken| cue.start >= scene.start - secs(LATELY) && cue.start < scene.end;
    spoken.iter().any(|cue| !cue.cut && (cue.scenes.contains(&n) || lately(cue) && says(cue)))
}

/// One of the texts of a sentence, as the model gave it.
fn plain(text: &str) -> String {
    let text = text.trim_end_matches('.').to_lowercase();
    text.strip_prefix("then ").unwrap_or(&text).to_string()
}

const COLUMNS: [&str; 17] = [
    "rule",
    "per hour",
    "scenes",
    "in pauses",
    "heard",
    "value heard",
    "seconds",
    "words in pauses",
    "value in pauses",
    "over speech",
    "late",
    "early",
    "after its scene",
    "no rest",
    "cut off",
    "fragments",
    "repeats",
];

/// Prints the head of a table.
pub(crate) fn head() {
    println!("| {} |\n|{}", COLUMNS.join(" | "), "---|".repeat(COLUMNS.len()));
}

/// Prints a row of a table.
pub(crate) fn print(name: &str, s: &Sums) {
    let cues = s.cues.max(1.0);
    let share = |part: f64, whole: f64| format!("{:3.0} %", 100.0 * part / whole.max(1e-9));
    let columns = [
        format!("{:4.0}", s.cues / s.films),
        share(s.described, s.scenes),
        share(s.clear, s.scenes),
        share(s.heard, s.scenes),
        share(s.heard_value, s.value),
        share(s.described_seconds, s.seconds),
        share(s.clear_words, s.words),
        share(s.clear_value, s.value),
        format!("{} ({:.0} s/h)", share(s.over_speech, s.spoken), s.over_speech / s.films),
        format!("{:.2} s", s.late / cues),
        share(s.early, cues),
        format!("{:.2} s", s.behind / cues),
        share(s.restless, cues),
        share(s.cut, cues),
        share(s.fragments, cues),
        share(s.repeated, cues),
    ];
    println!("| {name:11} | {} |", columns.join(" | "));
}
