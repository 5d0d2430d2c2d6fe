//! What is known of the speech in a film, and up to when.

use serde::{Serialize, Serializer};

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

/// What has become known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpeechUpdate {
    /// Speech that has ended since the last update, in order.
    pub ended: Vec<Utterance>,
    /// Start of the speech that is still going on at `until`, if any.
    pub since: Option<Time>,
    /// Up to when everything is known.
    pub until: Time,
}

/// Remembers the speech of a film, in order of time.
#[derive(Debug, Clone, Default)]
pub struct SpeechLog {
    ended: Vec<Utterance>,
    since: Option<Time>,
    until: Time,
}

impl SpeechLog {
    /// With everything known.
    pub fn whole(utterances: Vec<Utterance>) -> SpeechLog {
        SpeechLog { ended: utterances, since: None, until: Time::MAX }
    }

    /// Takes what has become known.
    pub fn update(&mut self, update: SpeechUpdate) {
        self.ended.extend(update.ended);
        self.since = update.since;
        self.until = self.until.max(update.until);
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

    /// All speech that has ended.
    pub fn into_utterances(self) -> Vec<Utterance> {
        self.ended
    }
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
        log.update(SpeechUpdate { ended: vec![utterance(1, 3), utterance(4, 5)], since: Some(at(8)), until: at(10) });
        assert_eq!(log.share(at(0), at(4)), Some(0.5));
        assert_eq!(log.share(at(2), at(10)), Some(0.5));
        assert_eq!(log.share(at(5), at(8)), Some(0.0));
        assert_eq!(log.share(at(9), at(10)), Some(1.0));
        assert_eq!(log.share(at(9), at(11)), None);
        log.update(SpeechUpdate { ended: vec![utterance(8, 12)], since: None, until: Time::MAX });
        assert_eq!(log.share(at(11), at(13)), Some(0.5));
        assert_eq!(log.into_utterances().len(), 3);
    }
}
