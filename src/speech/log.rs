//! What is known of the speech in a film, and up to when.

use serde::{Serialize, Serializer};

use crate::media::DialogueLine;
use crate::time::Time;

/// A stretch of a film in which somebody talks. Serialised as JSON has it, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Utterance {
    /// When it begins.
    #[serde(serialize_with = "seconds")]
    pub start: Time,
    /// When it ends: after its start.
    #[serde(serialize_with = "seconds")]
    pub end: Time,
}

fn seconds<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.secs())
}

/// Lines of dialogue that are closer than this are one utterance.
pub(super) const LEAST_PAUSE: Time = Time::from_millis(100);
/// Most bytes of the dialogue of a film: a hundred times those of a long one.
const MOST_DIALOGUE: usize = 16 << 20;

/// What has become known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpeechUpdate {
    /// Speech that has ended since the last update, in order.
    pub ended: Vec<Utterance>,
    /// Lines of dialogue that were read since then, in the order of the file.
    pub dialogue: Vec<DialogueLine>,
    /// Start of the speech that is still going on at `until`, if any.
    pub since: Option<Time>,
    /// Up to when everything is known.
    pub until: Time,
}

impl SpeechUpdate {
    /// Everything about a film whose lines of dialogue are all known and in order of their start, from `range.0` up to
    /// `range.1`.
    pub fn of_dialogue(lines: &[DialogueLine], range: (Time, Time)) -> SpeechUpdate {
        let within = |line: &DialogueLine| {
            let (start, end) = (line.start.max(range.0), line.end.min(range.1));
            (start < end).then(|| DialogueLine { start, end, text: line.text.clone() })
        };
        let dialogue = lines.iter().filter_map(within).collect();
        SpeechUpdate { ended: utterances(lines, range), dialogue, since: None, until: Time::MAX }
    }
}

/// Remembers the speech of a film, in order of time.
#[derive(Debug, Clone, Default)]
pub struct SpeechLog {
    ended: Vec<Utterance>,
    dialogue: Vec<DialogueLine>,
    /// Bytes of the dialogue.
    bytes: usize,
    /// Start of the first line that there was no room for.
    full: Option<Time>,
    since: Option<Time>,
    until: Time,
}

impl SpeechLog {
    /// With everything known.
    pub fn whole(utterances: Vec<Utterance>) -> SpeechLog {
        SpeechLog { ended: utterances, until: Time::MAX, ..SpeechLog::default() }
    }

    fn add(&mut self, line: DialogueLine) {
        let bytes = self.bytes + line.text.len() + size_of::<DialogueLine>();
        if bytes > MOST_DIALOGUE || self.full.is_some() {
            self.full.get_or_insert(line.start);
            return;
        }
        self.bytes = bytes;
        self.dialogue.push(line);
    }

    /// Takes what has become known.
    pub fn update(&mut self, update: SpeechUpdate) {
        self.ended.extend(update.ended);
        update.dialogue.into_iter().for_each(|line| self.add(line));
        self.since = update.since;
        self.until = self.until.max(update.until);
    }

    /// Everything that is known, but the lines of dialogue.
    pub fn known(&self) -> SpeechUpdate {
        let ended = self.ended.clone();
        SpeechUpdate { ended, since: self.since, until: self.until, ..SpeechUpdate::default() }
    }

    /// Whether everything before a time is known.
    pub fn knows(&self, time: Time) -> bool {
        self.until >= time
    }

    /// The share of a stretch in which somebody talks, 0 to 1; none if it is not known.
    pub fn share(&self, start: Time, end: Time) -> Option<f32> {
        if !self.knows(end) || end <= start {
            return None;
        }
        let first = self.ended.partition_point(|u| u.end <= start);
        let within = |from: Time, to: Time| (to.min(end) - from.max(start)).micros().max(0);
        let ended = self.ended[first..].iter().take_while(|u| u.start < end);
        let spoken =
            ended.map(|u| within(u.start, u.end)).sum::<i64>() + self.since.map_or(0, |s| within(s, self.until));
        Some((spoken as f64 / (end - start).micros() as f64) as f32)
    }

    /// Start of the first line of dialogue that was left out, because there was no room for more.
    pub fn full(&self) -> Option<Time> {
        self.full
    }

    /// All speech that has ended, and the dialogue in order of its start.
    pub fn into_parts(mut self) -> (Vec<Utterance>, Vec<DialogueLine>) {
        self.dialogue.sort_by_key(|line| line.start);
        (self.ended, self.dialogue)
    }
}

/// The speech of a film whose lines are all known and in order of their start, from `range.0` up to `range.1`.
pub fn utterances(lines: &[DialogueLine], range: (Time, Time)) -> Vec<Utterance> {
    let mut found: Vec<Utterance> = Vec::new();
    for line in lines {
        let new = Utterance { start: line.start.max(range.0), end: line.end.min(range.1) };
        match found.last_mut() {
            _ if new.end <= new.start => {}
            Some(last) if new.start <= last.end + LEAST_PAUSE => last.end = last.end.max(new.end),
            _ => found.push(new),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Time {
        Time::from_millis(secs * 1_000)
    }

    fn utterance(start: i64, end: i64) -> Utterance {
        Utterance { start: at(start), end: at(end) }
    }

    #[test]
    fn shares_count_what_is_over_and_what_goes_on() {
        let mut log = SpeechLog::default();
        assert_eq!((log.share(at(0), at(1)), log.share(at(1), at(1))), (None, None));
        log.update(SpeechUpdate {
            ended: vec![utterance(1, 3), utterance(4, 5)],
            since: Some(at(8)),
            until: at(10),
            ..SpeechUpdate::default()
        });
        assert_eq!(log.share(at(0), at(4)), Some(0.5));
        assert_eq!(log.share(at(2), at(10)), Some(0.5));
        assert_eq!(log.share(at(5), at(8)), Some(0.0));
        assert_eq!(log.share(at(9), at(10)), Some(1.0));
        assert_eq!(log.share(at(9), at(11)), None);
        log.update(SpeechUpdate { ended: vec![utterance(8, 12)], until: Time::MAX, ..SpeechUpdate::default() });
        assert_eq!(log.share(at(11), at(13)), Some(0.5));
        assert_eq!(log.into_parts().0.len(), 3);
    }
    fn line(start: i64, end: i64, text: &str) -> DialogueLine {
        DialogueLine { start: at(start), end: at(end), text: text.into() }
    }

    #[test]
    fn dialogue_is_in_order_and_within_its_range() {
        let mut log = SpeechLog::default();
        for dialogue in [vec![line(5, 6, "b"), line(2, 3, "a")], vec![line(5, 7, "c")]] {
            log.update(SpeechUpdate { dialogue, ..SpeechUpdate::default() });
        }
        assert_eq!(log.into_parts().1, [line(2, 3, "a"), line(5, 6, "b"), line(5, 7, "c")]);
        let lines = [line(1, 3, "a"), line(3, 5, "b"), line(5, 7, "c")];
        let within = SpeechUpdate::of_dialogue(&lines, (at(4), at(5)));
        assert_eq!((within.ended, within.dialogue), (vec![utterance(4, 5)], vec![line(4, 5, "b")]));
    }

    #[test]
    fn dialogue_is_bounded() {
        let long = "x".repeat(1 << 20);
        let mut log = SpeechLog::default();
        for secs in 0..20 {
            let dialogue = vec![line(secs, secs + 1, &long), line(secs, secs + 1, "short")];
            log.update(SpeechUpdate { dialogue, ..SpeechUpdate::default() });
        }
        assert_eq!(log.full(), Some(at(15)));
        assert_eq!(log.into_parts().1.len(), 30);
    }

    fn ms(ms: i64) -> Time {
        Time::from_millis(ms)
    }

    fn times(utterances: &[Utterance]) -> Vec<(i64, i64)> {
        utterances.iter().map(|u| (u.start.millis(), u.end.millis())).collect()
    }

    #[test]
    fn lines_that_touch_are_one_utterance() {
        let all = [(0, 900), (1_000, 2_000), (1_500, 1_700), (2_101, 3_000), (3_000, 4_000), (8_000, 9_000)];
        let all = all.map(|(start, end)| DialogueLine { start: ms(start), end: ms(end), text: "x".into() });
        let found = utterances(&all, (Time::ZERO, Time::MAX));
        assert_eq!(times(&found), [(0, 2_000), (2_101, 4_000), (8_000, 9_000)]);
        assert_eq!(times(&utterances(&all, (ms(1_800), ms(8_500)))), [(1_800, 2_000), (2_101, 4_000), (8_000, 8_500)]);
    }
}
