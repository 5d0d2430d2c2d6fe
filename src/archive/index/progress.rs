//! How far a job is: videos, hours, speed, failures, and how long it will go on.
//!
//! Owns counters and the position of each running film. What is left is told by bytes, which are known of all videos before any
//! is opened; a video of which they are not known counts as a mean one.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Count, Listener, Task};
use crate::archive::record::Record;
use crate::error::Error;
use crate::media::StreamInfo;
use crate::pipeline::Observer;
use crate::time::Time;

/// A film that is being watched.
#[derive(Debug, Default, Clone, Copy)]
struct Running {
    watched: Time,
    length: Option<Time>,
}

/// One job's progress. All methods may be called from several threads.
pub struct Progress {
    sizes: Vec<Option<u64>>,
    /// Bytes of all videos, and what one of unknown size counts.
    all: f64,
    mean: f64,
    started: Instant,
    running: Mutex<HashMap<usize, Running>>,
    described: Count,
    in_part: Count,
    failed: Count,
    elsewhere: Count,
    /// Of videos that have ended.
    bytes: Count,
    /// Microseconds of media, of videos that have been watched to their end.
    media: Count,
    keyframes: Count,
    cues: Count,
}

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Snapshot {
    /// Videos of the job.
    pub videos: usize,
    pub described: u64,
    /// Of those, in part: damaged.
    pub in_part: u64,
    pub failed: u64,
    /// Described by other processes meanwhile.
    pub elsewhere: u64,
    pub running: usize,
    /// Hours of media that were watched.
    pub hours: f64,
    /// Seconds since the job began.
    pub seconds: f64,
    /// Times as fast as real time.
    pub speed: f64,
    /// Seconds that are left at this speed, as far as can be told.
    pub left: Option<f64>,
    pub keyframes: u64,
    pub cues: u64,
}

impl Progress {
    pub fn new(tasks: &[Task]) -> Progress {
        let sizes: Vec<Option<u64>> = tasks.iter().map(|t| t.item.source.size).collect();
        let known: Vec<f64> = sizes.iter().flatten().map(|s| *s as f64).collect();
        let mean = if known.is_empty() { 1.0 } else { known.iter().sum::<f64>() / known.len() as f64 }.max(1.0);
        let all = known.iter().sum::<f64>() + mean * (sizes.len() - known.len()) as f64;
        Progress {
            sizes,
            all,
            mean,
            started: Instant::now(),
            running: Mutex::default(),
            described: Count::default(),
            in_part: Count::default(),
            failed: Count::default(),
            elsewhere: Count::default(),
            bytes: Count::default(),
            media: Count::default(),
            keyframes: Count::default(),
            cues: Count::default(),
        }
    }

    fn size(&self, file: usize) -> f64 {
        self.sizes.get(file).copied().flatten().map_or(self.mean, |s| s as f64)
    }

    fn through(&self, file: usize) {
        self.bytes.add(self.size(file) as u64);
    }

    pub fn snapshot(&self) -> Snapshot {
        self.at(self.started.elapsed())
    }

    fn at(&self, elapsed: Duration) -> Snapshot {
        let seconds = elapsed.as_secs_f64();
        let (mut media, mut bytes) = (self.media.get() as f64 / 1e6, self.bytes.get() as f64);
        let mut running = 0;
        if let Ok(films) = self.running.lock() {
            running = films.len();
            for (&file, film) in films.iter() {
                let watched = film.watched.secs().max(0.0);
                media += watched;
                if let Some(length) = film.length.filter(|l| l.secs() > 0.0) {
                    bytes += self.size(file) * (watched / length.secs()).min(1.0);
                }
            }
        }
        let left = (bytes > 0.0 && seconds >= 2.0).then(|| (self.all - bytes).max(0.0) * seconds / bytes);
        Snapshot {
            videos: self.sizes.len(),
            described: self.described.get(),
            in_part: self.in_part.get(),
            failed: self.failed.get(),
            elsewhere: self.elsewhere.get(),
            running,
            hours: media / 3600.0,
            seconds,
            speed: if seconds > 0.0 { media / seconds } else { 0.0 },
            left,
            keyframes: self.keyframes.get(),
            cues: self.cues.get(),
        }
    }
}

impl Snapshot {
    /// Videos of which nothing more is to come.
    pub fn through(&self) -> u64 {
        self.described + self.failed + self.elsewhere
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let clock = |secs: f64| Time::from_secs(secs).clock();
        let mut line = format!("{} of {} videos", self.through(), self.videos);
        if self.failed > 0 {
            line += &format!(", {} failed", self.failed);
        }
        line += &format!("  {} watched  {:.1}×", clock(self.hours * 3600.0), self.speed);
        if let Some(left) = self.left {
            line += &format!("  {} left", clock(left));
        }
        line
    }
}

impl Observer for Progress {
    fn opened(&self, file: usize, info: &StreamInfo) {
        if let Ok(mut films) = self.running.lock() {
            films.insert(file, Running { watched: Time::ZERO, length: info.duration.map(Time::from_secs) });
        }
    }

    fn watched(&self, file: usize, time: Time) {
        if let Ok(mut films) = self.running.lock()
            && let Some(film) = films.get_mut(&file)
        {
            film.watched = time;
        }
    }

    fn ended(&self, file: usize) {
        if let Ok(mut films) = self.running.lock()
            && let Some(film) = films.remove(&file)
        {
            self.media.add(film.watched.micros().max(0) as u64);
        }
    }
}

impl Listener for Progress {
    fn stored(&self, file: usize, record: &Record) {
        self.through(file);
        self.described.add(1);
        self.in_part.add(u64::from(record.damage.is_some()));
        self.keyframes.add(record.keyframes);
        self.cues.add(record.cues);
    }

    fn failed(&self, file: usize, _error: &Error, _kept: bool) {
        self.ended(file);
        self.through(file);
        self.failed.add(1);
    }

    fn elsewhere(&self, file: usize) {
        self.through(file);
        self.elsewhere.add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::index::sources::Item;
    use crate::archive::record::{Recipe, Work};
    use crate::fingerprint::Fingerprint;
    use std::sync::Arc;

    fn task(size: Option<u64>) -> Task {
        let recipe = Recipe { model: "m".into(), model_hash: "h".into(), dimension: 1, options: Default::default() };
        let source = Fingerprint { size, ..Fingerprint::default() };
        let work = Work::new("/a", source.clone(), Arc::new(recipe));
        Task { item: Item { video: "/a".into(), input: None, source }, work, again: false }
    }

    #[test]
    fn what_is_left_goes_by_bytes() {
        let progress = Progress::new(&[task(Some(100)), task(Some(300)), task(None), task(Some(200))]);
        assert_eq!(progress.at(Duration::from_secs(10)).left, None);
        progress.failed(0, &Error::Interrupted, false);
        progress.elsewhere(1);
        let info = StreamInfo {
            container: String::new(),
            codec: String::new(),
            width: 2,
            height: 2,
            sample_aspect: (1, 1),
            rotation: 0,
            duration: Some(100.0),
            frame_rate: None,
            pixel_format: String::new(),
            start_time: 0.0,
        };
        progress.opened(3, &info);
        progress.watched(3, Time::from_secs(50.0));
        // 100 + 300 + half of 200 are through, the other half and a mean of 200 are left.
        let now = progress.at(Duration::from_secs(10));
        assert_eq!((now.left, now.speed, now.running, now.through()), (Some(6.0), 5.0, 1, 2));
        assert_eq!(now.line(), "2 of 4 videos, 1 failed  0:50 watched  5.0×  0:06 left");
        progress.ended(3);
        assert_eq!(
            (progress.at(Duration::from_secs(25)).speed, progress.at(Duration::from_secs(25)).running),
            (2.0, 0)
        );
    }
}
