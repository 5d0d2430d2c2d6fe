//! When each description is spoken, and how it fits into its pause.

use super::options::{SpeakOptions, SpeechFit};
use crate::error::Result;
use crate::media::remux::{FilmPause, FilmPauses, FilmText};
use crate::speech::Utterance;
use crate::time::Time;
use crate::track::cue::shorten;
use crate::voice::{Speaker, SpokenText};

/// Silence between a description and the next.
const GAP: Time = Time::from_millis(200);
/// A shorter pause has room for nothing.
const SHORTEST: f64 = 0.3;
/// How many times as fast a description is spoken rather than that the film pauses for a moment: nobody hears it.
const UNHEARD: f64 = 1.15;
/// Most times that a text is shortened before it is left out.
const ATTEMPTS: usize = 4;

/// A description in its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PlacedText {
    /// When it begins, in the time of the output.
    pub(super) start: Time,
    /// The same in the time of the film.
    pub(super) film_start: Time,
    /// How long the film pauses for it.
    pub(super) pause: Time,
    pub(super) spoken: SpokenText,
    /// How many times as fast it is to be played.
    pub(super) stretch: f64,
}

impl PlacedText {
    /// How long it takes, in seconds.
    pub(super) fn secs(&self) -> f64 {
        self.spoken.secs() / self.stretch
    }
}

/// What became of the texts.
#[derive(Debug, Default)]
pub(super) struct SpeechPlan {
    /// In order of time.
    pub(super) placed: Vec<PlacedText>,
    /// How many are spoken faster.
    pub(super) faster: usize,
    /// How many lost words.
    pub(super) shortened: usize,
    /// Texts that are not spoken, and their times.
    pub(super) left_out: Vec<(Time, String)>,
    /// Where the film pauses.
    pub(super) pauses: FilmPauses,
}

/// What limits descriptions, apart from one another.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PlanLimits<'a> {
    /// When the film ends.
    pub(super) end: Option<Time>,
    /// Where people talk, in order. A description may go on meanwhile, unless the film can pause instead.
    pub(super) speech: &'a [Utterance],
    /// Pictures a second, if there are any. A pause lasts for whole pictures.
    pub(super) frame_rate: Option<f64>,
}

/// A text that fits.
struct FittedText {
    spoken: SpokenText,
    stretch: f64,
    is_faster: bool,
}

/// Has all texts spoken, and places them.
///
/// # Errors
/// If the voice fails.
pub(super) fn place(
    texts: &[FilmText],
    limits: &PlanLimits<'_>,
    options: &SpeakOptions,
    speaker: &mut Speaker,
) -> Result<SpeechPlan> {
    let mut plan = SpeechPlan::default();
    let texts = joined(texts);
    for (n, text) in texts.iter().enumerate() {
        let next = texts.get(n + 1).map(|next| next.start - GAP);
        let cue = (options.fit == SpeechFit::InCue).then_some(text.end);
        let limit = [next, cue, limits.end].into_iter().flatten().min();
        let room = limit.map_or(f64::INFINITY, |limit| (limit - text.start).secs());
        if options.extended && limits.end.is_none_or(|end| text.start < end) {
            let room = room.min(room_before_speech(limits.speech, text.start));
            plan.extend(text, room, limits.frame_rate, options, speaker)?;
            continue;
        }
        let mut words = text.text.clone();
        match fit(&mut words, room, options.fastest, speaker)? {
            Some(fitted) => {
                plan.shortened += usize::from(words != text.text);
                plan.push(text.start, Time::ZERO, fitted);
            }
            None => plan.left_out.push((text.start, text.text.clone())),
        }
    }
    Ok(plan)
}

impl SpeechPlan {
    /// Places a description for which the film pauses if the room, in seconds, is too short.
    ///
    /// # Errors
    /// If the voice fails.
    fn extend(
        &mut self,
        text: &FilmText,
        room: f64,
        frame_rate: Option<f64>,
        options: &SpeakOptions,
        speaker: &mut Speaker,
    ) -> Result<()> {
        let spoken = speaker.speak(&text.text, 1.0)?;
        if let Some(fitted) = faster(&text.text, spoken, room, options.fastest.min(UNHEARD), speaker)? {
            self.push(text.start, Time::ZERO, fitted);
            return Ok(());
        }
        let pause = whole_frames((spoken.secs() - room).max(0.0), frame_rate);
        self.push(text.start, pause, FittedText { spoken, stretch: 1.0, is_faster: false });
        Ok(())
    }

    /// Places a description at a time of the film, which pauses then.
    fn push(&mut self, film_start: Time, pause: Time, fitted: FittedText) {
        let FittedText { spoken, stretch, is_faster } = fitted;
        self.faster += usize::from(is_faster);
        self.placed.push(PlacedText { start: self.pauses.shifted(film_start), film_start, pause, spoken, stretch });
        if pause > Time::ZERO {
            self.pauses.push(FilmPause { at: film_start, length: pause });
        }
    }
}

/// So many seconds, rounded up to whole pictures.
fn whole_frames(secs: f64, frame_rate: Option<f64>) -> Time {
    Time::from_secs(frame_rate.map_or(secs, |rate| (secs * rate - 1e-6).ceil().max(0.0) / rate))
}

/// How long it takes from a time until somebody talks, in seconds, with the gap before; less than zero if somebody does.
fn room_before_speech(speech: &[Utterance], start: Time) -> f64 {
    let next = speech.partition_point(|utterance| utterance.end <= start);
    speech.get(next).map_or(f64::INFINITY, |next| (next.start.max(start) - GAP - start).secs())
}

/// The texts that can be spoken. Those that begin together are one, and so is a sentence that goes on from cue to cue.
pub(super) fn joined(texts: &[FilmText]) -> Vec<FilmText> {
    let mut all: Vec<FilmText> = Vec::new();
    for text in texts.iter().filter(|t| t.text.chars().any(char::is_alphanumeric)) {
        let start = text.start.max(Time::ZERO);
        match all.last_mut() {
            Some(last) if last.start >= start || (last.end == start && !is_whole(&last.text)) => {
                last.text = format!("{} {}", last.text, text.text);
                last.end = last.end.max(text.end);
            }
            _ => all.push(FilmText { start, ..text.clone() }),
        }
    }
    all
}

/// Whether a text ends a sentence.
fn is_whole(text: &str) -> bool {
    text.trim_end_matches(['"', '\'', '’', '”', '»', ')', ']'])
        .ends_with(['.', '!', '?', '…', '。', '！', '？', ':', ';'])
}

/// Speaks a text within `room` seconds: faster if it must be, then with fewer words, which `words` are at the end. None if
/// nothing whole fits.
fn fit(words: &mut String, room: f64, fastest: f64, speaker: &mut Speaker) -> Result<Option<FittedText>> {
    if room < SHORTEST {
        return Ok(None);
    }
    for _ in 0..ATTEMPTS {
        let spoken = speaker.speak(words, 1.0)?;
        if let Some(fitted) = faster(words, spoken, room, fastest, speaker)? {
            return Ok(Some(fitted));
        }
        let characters = words.chars().count() as f64;
        let shorter = shorten(words, (characters * fastest * room / spoken.secs()) as usize);
        if shorter.chars().count() >= words.chars().count() {
            return Ok(None);
        }
        *words = shorter;
    }
    Ok(None)
}

/// Speaks a text within `room` seconds, faster if it must be. `spoken`: at the usual speed. None if it takes longer even `fastest` times as
/// fast.
fn faster(
    words: &str,
    spoken: SpokenText,
    room: f64,
    fastest: f64,
    speaker: &mut Speaker,
) -> Result<Option<FittedText>> {
    let needed = spoken.secs() / room;
    if (0.0..=1.0).contains(&needed) {
        return Ok(Some(FittedText { spoken, stretch: 1.0, is_faster: false }));
    }
    if !(0.0..=fastest).contains(&needed) {
        return Ok(None);
    }
    let quick = if speaker.has_speed() { speaker.speak(words, needed)? } else { spoken };
    // What the voice itself does not reach.
    let stretch = (quick.secs() / room).max(1.0);
    Ok((stretch <= fastest).then_some(FittedText { spoken: quick, stretch, is_faster: true }))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::interrupt::Interrupt;
    use crate::voice::{Voice, VoiceOptions};

    /// A voice that takes 0.05 s for each character, whatever the speed.
    fn speaker() -> Speaker {
        let script = r"n=$(wc -m); b=$(( (n - 1) * 800 ));
            hex=$(printf '%08x' $b); le=$(echo $hex | sed 's/\(..\)\(..\)\(..\)\(..\)/\\x\4\\x\3\\x\2\\x\1/');
            printf 'RIFF\0\0\0\0WAVEfmt \20\0\0\0\1\0\1\0\100\37\0\0\200\76\0\0\2\0\20\0data'; /usr/bin/printf $le;
            head -c $b /dev/zero | tr '\0' '@'";
        let voice = Voice::Program(["bash", "-c", script].map(String::from).to_vec());
        Speaker::new(&VoiceOptions { voice, ..VoiceOptions::default() }, &Interrupt::new()).unwrap()
    }

    fn plan(texts: &[(i64, i64, &str)], end: Option<i64>, fit: SpeechFit) -> SpeechPlan {
        let texts: Vec<FilmText> = texts
            .iter()
            .map(|&(start, end, text)| FilmText {
                start: Time::from_millis(start),
                end: Time::from_millis(end),
                text: text.into(),
            })
            .collect();
        let options = SpeakOptions { fit, ..SpeakOptions::default() };
        let limits = PlanLimits { end: end.map(Time::from_millis), ..PlanLimits::default() };
        place(&texts, &limits, &options, &mut speaker()).unwrap()
    }

    fn places(plan: &SpeechPlan) -> Vec<(i64, f64, f64)> {
        let round = |x: f64| (x * 1e3).round() / 1e3;
        plan.placed.iter().map(|p| (p.start.millis(), round(p.secs()), round(p.stretch))).collect()
    }

    #[test]
    fn a_description_may_go_on_until_the_next_one() {
        let texts = [(1_000, 1_100, "a dog runs on grass."), (2_200, 9_000, "a cat."), (60_000, 61_000, "…")];
        let plan = plan(&texts, None, SpeechFit::UntilNext);
        assert_eq!(places(&plan), [(1_000, 1.0, 1.0), (2_200, 0.3, 1.0)]);
        assert_eq!((plan.faster, plan.shortened, plan.left_out.len()), (0, 0, 0));
    }

    #[test]
    fn it_is_spoken_faster_then_shortened_then_left_out() {
        // Twenty characters are a second. There is room for 0.8 s, for 0.5 s, and for nothing.
        let texts = [
            (0, 800, "a dog runs on grass."),
            (5_000, 5_500, "a dog runs, and a cat sits on a tree, and a bird sings."),
            (9_000, 9_350, "Incomprehensibilities"),
        ];
        let plan = plan(&texts, None, SpeechFit::InCue);
        assert_eq!(places(&plan)[0], (0, 0.8, 1.25));
        assert!(plan.placed[1].secs() <= 0.5, "{:?}", places(&plan));
        assert_eq!((plan.faster, plan.shortened), (2, 1), "{:?}", places(&plan));
        assert_eq!(plan.left_out, [(Time::from_millis(9_000), "Incomprehensibilities".to_string())]);
    }

    #[test]
    fn the_film_pauses_where_there_is_no_room() {
        // The first has room until the next one; the second until somebody talks; the third none, as somebody talks.
        // The last takes a little longer than there is room, and is spoken a little faster.
        let texts = [
            (1_000, "a dog runs on grass."),
            (5_000, "a cat sits on a chair in the sun."),
            (9_000, "a bird sings."),
            (19_100, "a dog runs on grass."),
        ];
        let texts: Vec<FilmText> = texts
            .into_iter()
            .map(|(start, text)| FilmText { start: ms(start), end: ms(start + 100), text: text.into() })
            .collect();
        let speech = [(5_700, 6_000), (8_500, 9_500)].map(|(start, end)| Utterance { start: ms(start), end: ms(end) });
        let options = SpeakOptions { extended: true, ..SpeakOptions::default() };
        let limits = PlanLimits { end: Some(ms(20_000)), speech: &speech, frame_rate: Some(25.0) };
        let plan = place(&texts, &limits, &options, &mut speaker()).unwrap();
        // 1.65 s in 0.5 s leave 1.15 s, which are 29 frames; then 0.65 s and the gap, which are 22.
        assert_eq!(places(&plan), [(1_000, 1.0, 1.0), (5_000, 1.65, 1.0), (10_160, 0.65, 1.0), (21_140, 0.9, 1.111)]);
        let pauses: Vec<(i64, i64)> = plan.pauses.iter().map(|p| (p.at.millis(), p.length.millis())).collect();
        assert_eq!(pauses, [(5_000, 1_160), (9_000, 880)]);
        assert_eq!((plan.faster, plan.shortened, plan.left_out.len()), (1, 0, 0));
        let ntsc = Some(30_000.0 / 1_001.0);
        assert_eq!(whole_frames(0.001, ntsc).micros(), 33_367);
        assert_eq!((whole_frames(2.002, ntsc), whole_frames(0.041, None)), (ms(2_002), ms(41)));
    }

    #[test]
    fn a_sentence_that_goes_on_is_spoken_as_one() {
        let text = |start, end, text: &str| FilmText { start: ms(start), end: ms(end), text: text.into() };
        let texts = [
            text(0, 1_000, "A man stands in front of a house, while a"),
            text(1_000, 2_000, "woman waits."),
            text(2_000, 3_000, "A dog (a “poodle.”)"),
            text(3_000, 4_000, "A cat"),
            text(4_100, 5_000, "sits."),
        ];
        let spoken: Vec<(i64, String)> = joined(&texts).into_iter().map(|t| (t.end.millis(), t.text)).collect();
        let want = [
            (2_000, "A man stands in front of a house, while a woman waits."),
            (3_000, "A dog (a “poodle.”)"),
            (4_000, "A cat"),
            (5_000, "sits."),
        ];
        assert_eq!(spoken, want.map(|(end, text)| (end, text.to_string())));
    }

    fn ms(ms: i64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn descriptions_that_begin_together_are_one_and_none_is_after_the_end() {
        let texts = [(0, 1_000, "a dog."), (0, 2_000, "a cat."), (30_000, 31_000, "a bird.")];
        let plan = plan(&texts, Some(30_100), SpeechFit::UntilNext);
        assert_eq!(places(&plan), [(0, 0.65, 1.0)]);
        assert_eq!(plan.left_out.len(), 1);
    }
}
