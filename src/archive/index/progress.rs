//! Progress of a job: videos, hours, speed, failures, and the time that remains.
//!
//! Owns counters and the position in each running video. The remaining time follows from the sizes of the files, which are
//! known before any is opened; a video of unknown size counts as an average one. Memory: a size per video of the job.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::observer::IndexObserver;
use super::plan::PlannedVideo;
use crate::archive::record::VideoRecord;
use crate::error::Error;
use crate::media::StreamInfo;
use crate::pipeline::Observer;
use crate::time::Time;

/// A counter that several threads add to.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A video that is being described.
#[derive(Debug, Default, Clone, Copy)]
struct RunningVideo {
    position: Time,
    duration: Option<Time>,
}

/// Progress of one job. Pass it to the job as its observer; threads may share it.
pub struct IndexProgress {
    /// Bytes of each video, by position in the job.
    sizes: Vec<Option<u64>>,
    /// Bytes of all videos.
    all: f64,
    /// Bytes that a video of unknown size counts as.
    mean: f64,
    started: Instant,
    running: Mutex<HashMap<usize, RunningVideo>>,
    described: Counter,
    in_part: Counter,
    failed: Counter,
    elsewhere: Counter,
    /// Bytes of the videos that have ended.
    bytes: Counter,
    /// Microseconds of media in the videos that have ended.
    media: Counter,
    keyframes: Counter,
    cues: Counter,
}

/// Progress of a job at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProgressReport {
    /// Videos of the job.
    pub videos: usize,
    /// Videos that were described.
    pub described: u64,
    /// Described videos of which decoding lost something.
    pub in_part: u64,
    /// Videos that could not be described.
    pub failed: u64,
    /// Videos that other processes described meanwhile.
    pub elsewhere: u64,
    /// Videos that are being described.
    pub running: usize,
    /// Hours of media so far.
    pub hours: f64,
    /// Seconds since the job began.
    pub seconds: f64,
    /// Media time per time of the job.
    pub speed: f64,
    /// Estimated seconds until the job ends; none until there is an estimate.
    pub left: Option<f64>,
    /// Keyframes of the described videos.
    pub keyframes: u64,
    /// Cues of the described videos.
    pub cues: u64,
}

impl ProgressReport {
    /// Videos that need no more work.
    pub fn finished(&self) -> u64 {
        self.described + self.failed + self.elsewhere
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let clock = |secs: f64| Time::from_secs(secs).clock();
        let mut line = format!("{} of {} videos", self.finished(), self.videos);
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

impl IndexProgress {
    /// Starts the clock of a job with these videos.
    pub fn new(videos: &[PlannedVideo]) -> IndexProgress {
        let sizes: Vec<Option<u64>> = videos.iter().map(|v| v.source.fingerprint.size).collect();
        let known: Vec<f64> = sizes.iter().flatten().map(|s| *s as f64).collect();
        let mean = if known.is_empty() { 1.0 } else { known.iter().sum::<f64>() / known.len() as f64 }.max(1.0);
        let all = known.iter().sum::<f64>() + mean * (sizes.len() - known.len()) as f64;
        IndexProgress {
            sizes,
            all,
            mean,
            started: Instant::now(),
            running: Mutex::default(),
            described: Counter::default(),
            in_part: Counter::default(),
            failed: Counter::default(),
            elsewhere: Counter::default(),
            bytes: Counter::default(),
            media: Counter::default(),
            keyframes: Counter::default(),
            cues: Counter::default(),
        }
    }

    fn size(&self, file: usize) -> f64 {
        self.sizes.get(file).copied().flatten().map_or(self.mean, |s| s as f64)
    }

    fn finish(&self, file: usize) {
        self.bytes.add(self.size(file) as u64);
    }

    /// The progress now.
    pub fn report(&self) -> ProgressReport {
        self.report_at(self.started.elapsed())
    }

    fn report_at(&self, elapsed: Duration) -> ProgressReport {
        let seconds = elapsed.as_secs_f64();
        let (mut media, mut bytes) = (self.media.get() as f64 / 1e6, self.bytes.get() as f64);
        let mut running = 0;
        if let Ok(videos) = self.running.lock() {
            running = videos.len();
            for (&file, video) in videos.iter() {
                let position = video.position.secs().max(0.0);
                media += position;
                if let Some(duration) = video.duration.filter(|d| d.secs() > 0.0) {
                    bytes += self.size(file) * (position / duration.secs()).min(1.0);
                }
            }
        }
        // The first seconds say more about loading the model than about the speed.
        let left = (bytes > 0.0 && seconds >= 2.0).then(|| (self.all - bytes).max(0.0) * seconds / bytes);
        ProgressReport {
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

impl Observer for IndexProgress {
    fn opened(&self, file: usize, info: &StreamInfo) {
        if let Ok(mut videos) = self.running.lock() {
            let duration = info.duration.map(Time::from_secs);
            videos.insert(file, RunningVideo { position: Time::ZERO, duration });
        }
    }

    fn watched(&self, file: usize, time: Time) {
        if let Ok(mut videos) = self.running.lock()
            && let Some(video) = videos.get_mut(&file)
        {
            video.position = time;
        }
    }

    fn ended(&self, file: usize) {
        if let Ok(mut videos) = self.running.lock()
            && let Some(video) = videos.remove(&file)
        {
            self.media.add(video.position.micros().max(0) as u64);
        }
    }
}

impl IndexObserver for IndexProgress {
    fn stored(&self, file: usize, record: &VideoRecord) {
        self.finish(file);
        self.described.add(1);
        self.in_part.add(u64::from(record.damage.is_some()));
        self.keyframes.add(record.keyframes);
        self.cues.add(record.cues);
    }

    fn failed(&self, file: usize, _error: &Error, _recorded: bool) {
        self.ended(file);
        self.finish(file);
        self.failed.add(1);
    }

    fn described_elsewhere(&self, file: usize) {
        self.finish(file);
        self.elsewhere.add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::index::sources::SourceVideo;
    use crate::archive::record::{Recipe, Work};
    use crate::fingerprint::Fingerprint;
    use std::sync::Arc;

    fn planned(size: Option<u64>) -> PlannedVideo {
        let recipe = Recipe { model: "m".into(), model_hash: "h".into(), dimension: 1, options: Default::default() };
        let fingerprint = Fingerprint { size, ..Fingerprint::default() };
        let work = Work::new("/a", fingerprint.clone(), Arc::new(recipe));
        let source = SourceVideo { video: "/a".into(), address: None, fingerprint };
        PlannedVideo { source, work, failed_before: false }
    }

    #[test]
    fn the_remaining_time_follows_from_the_sizes() {
        let progress = IndexProgress::new(&[planned(Some(100)), planned(Some(300)), planned(None), planned(Some(200))]);
        assert_eq!(progress.report_at(Duration::from_secs(10)).left, None);
        progress.failed(0, &Error::Interrupted, false);
        progress.described_elsewhere(1);
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
            side_track: None,
            side_track_fault: None,
        };
        progress.opened(3, &info);
        progress.watched(3, Time::from_secs(50.0));
        // 100 + 300 + half of 200 are finished; the other half and an average of 200 remain.
        let now = progress.report_at(Duration::from_secs(10));
        assert_eq!((now.left, now.speed, now.running, now.finished()), (Some(6.0), 5.0, 1, 2));
        assert_eq!(now.line(), "2 of 4 videos, 1 failed  0:50 watched  5.0×  0:06 left");
        progress.ended(3);
        assert_eq!(
            (progress.report_at(Duration::from_secs(25)).speed, progress.report_at(Duration::from_secs(25)).running),
            (2.0, 0)
        );
    }
}
