//! Dialogue that espeak-ng speaks, at times that are known to the sample.

use std::path::Path;
use std::process::{Command, Stdio};

use fastrand::Rng;

use super::made_up::talk;
use super::rules::{Utterances, secs};

/// What is said: from one word to eleven, without commas, at which espeak-ng would pause.
const LINES: [&str; 24] = [
    "No.",
    "Wait.",
    "I know.",
    "Who told you that?",
    "Come with me.",
    "We have to leave before they find us.",
    "I never asked you to come here.",
    "Did you see what he had in his hand?",
    "Nobody is going to believe a word of this.",
    "My brother used to work in that old factory.",
    "Give me one good reason why I should trust you.",
    "It was dark and I could hardly see the road.",
    "You said you would call me from the station.",
    "That is not what we agreed on last night.",
    "Take the second street on the left after the bridge.",
    "She left the keys on the table and walked out.",
    "How long have you been standing there?",
    "The doctor says it will take at least three weeks.",
    "I have been thinking about it all morning.",
    "Put that down right now.",
    "There must be another way into the building.",
    "Are you sure that this is the right house?",
    "We can talk about it over dinner tomorrow.",
    "Turn off the light and close the door behind you.",
];
/// Who says it, and how fast, in words a minute.
const SPEAKERS: [(&str, u32); 4] = [("en-us", 165), ("en-gb+f3", 175), ("en-gb", 185), ("en-us+f4", 160)];
/// Samples that are quieter than this share of the loudest are silence, in per cent.
const SILENCE: u16 = 1;
/// Lines of at most so many words are what somebody says outside of a dialogue.
const SHORT: usize = 5;

/// The lines, spoken.
pub(crate) struct Voices {
    rate: u32,
    /// Without silence before and after; with the number of words.
    lines: Vec<(usize, Vec<i16>)>,
}

impl Voices {
    /// Has espeak-ng speak all lines. None if it is not installed.
    pub(crate) fn new() -> Option<Voices> {
        let mut rate = 0;
        let mut lines = Vec::new();
        for (n, line) in LINES.into_iter().enumerate() {
            let (voice, pace) = SPEAKERS[n % SPEAKERS.len()];
            let mut command = Command::new("espeak-ng");
            command.args(["-v", voice, "-s", &pace.to_string(), "--stdout", line]).stdin(Stdio::null());
            let wav = command.output().ok()?.stdout;
            let reader = hound::WavReader::new(wav.as_slice()).expect("espeak-ng writes WAV");
            assert_eq!(reader.spec().channels, 1, "espeak-ng speaks in mono");
            rate = reader.spec().sample_rate;
            let samples: Vec<i16> = reader.into_samples().map_while(Result::ok).collect();
            let least = samples.iter().map(|s| s.unsigned_abs()).max().unwrap_or(0) / 100 * SILENCE;
            let sounds = |sample: &i16| sample.unsigned_abs() > least;
            let first = samples.iter().position(sounds).expect("espeak-ng speaks");
            let last = samples.iter().rposition(sounds).expect("espeak-ng speaks");
            lines.push((line.split(' ').count(), samples[first..=last].to_vec()));
        }
        Some(Voices { rate, lines })
    }

    /// Writes a dialogue of `length` seconds, and returns when somebody talks. `dialogue`, `other`: the mean passage of
    /// dialogue and without, in seconds; the film begins anywhere in one.
    pub(crate) fn write(
        &self,
        to: &Path,
        rng: &mut Rng,
        length: f64,
        (dialogue, other): (f64, f64),
    ) -> anyhow::Result<Utterances> {
        let rate = f64::from(self.rate);
        let mut samples = vec![0i16; (length * rate) as usize];
        let mut speech = Vec::new();
        let begin = -rng.f64() * (dialogue + other);
        talk(rng, (begin, length), (dialogue, other), &mut |rng, at, is_dialogue| {
            let fitting: Vec<_> = self.lines.iter().filter(|line| is_dialogue || line.0 <= SHORT).collect();
            let line = &fitting[rng.usize(..fitting.len())].1;
            let first = (at * rate).round();
            // What begins before the film, or ends after it, is not in it.
            if first >= 0.0 && first as usize + line.len() <= samples.len() {
                let first = first as usize;
                samples[first..first + line.len()].copy_from_slice(line);
                speech.push((secs(first as f64 / rate), secs((first + line.len()) as f64 / rate)));
            }
            line.len() as f64 / rate
        });
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: self.rate,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(to, spec)?;
        samples.into_iter().try_for_each(|sample| writer.write_sample(sample))?;
        writer.finalize()?;
        Ok(speech)
    }
}
