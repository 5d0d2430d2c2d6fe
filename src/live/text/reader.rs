//! The thread that reads the text of all streams, and reports what is new about it.
//!
//! Order: of each stream in order of time. Memory: for each stream, what a [`TextFinder`] holds, which is bounded by the strokes
//! of some seconds, and what [`TextNews`] remembers; one picture.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::inbox::{TextInbox, TextWork};
use super::news::{TextNews, TextStatement};
use crate::error::{Error, Result};
use crate::live::event::{EventKind, LiveCaption};
use crate::live::metrics::{Metrics, ModelState, Stage};
use crate::live::stream::LiveStream;
use crate::media::Frame;
use crate::model::SessionOptions;
use crate::ocr::{Look, OcrOptions, TextFinder, TextModel, TextReader};
use crate::time::Time;
use crate::track::cue::sentence;

/// Most lines of a stream whose digits are looked at when they change: a page of text changes as a whole.
const MOST_LINES: usize = 32;

/// A frame to read.
pub(in crate::live) struct LookFrame {
    pub(super) frame: Arc<Frame>,
    /// When it is shown, by this machine's clock.
    pub(super) wall: SystemTime,
}

/// What the reader needs.
pub(in crate::live) struct TextReaderJob {
    pub(in crate::live) streams: Vec<Arc<LiveStream>>,
    pub(in crate::live) inbox: Arc<TextInbox<LookFrame>>,
    pub(in crate::live) model: TextModel,
    pub(in crate::live) metrics: Arc<Metrics>,
}

/// Loads the model and reads until the inbox is closed and empty.
///
/// # Errors
/// If ONNX Runtime fails.
pub(in crate::live) fn read_text(job: TextReaderJob) -> Result<()> {
    let metrics = job.metrics.clone();
    let failed = |e: Error| {
        metrics.set_model(ModelState::Failed);
        e
    };
    let session = SessionOptions { threads: 1, ..SessionOptions::default() };
    let reader = job.model.reader(&session, OcrOptions::of_film()).map_err(failed)?;
    let mut reading = ReadLoop::new(job, reader);
    let result = reading.run();
    metrics.set_reading(false);
    result.map_err(failed).map_err(|e| {
        let remedy = "Start descry again. If that does not help, leave out the text on the screen.";
        Error::broken(e.to_string(), remedy).with_source(e)
    })
}

/// What is known of the text of a stream.
struct StreamText {
    finder: TextFinder,
    news: TextNews,
    /// A time of the stream, when its frame arrived, and when that was by this machine's clock.
    clock: Option<(Time, Instant, SystemTime)>,
    now: Time,
}

struct ReadLoop {
    job: TextReaderJob,
    reader: TextReader,
    /// In the order of the streams; none where nothing is read.
    texts: Vec<Option<StreamText>>,
}

impl ReadLoop {
    fn new(job: TextReaderJob, reader: TextReader) -> ReadLoop {
        let text = |stream: &Arc<LiveStream>| {
            let news = TextNews::new(stream.config.text?, stream.config.min_interval);
            Some(StreamText { finder: TextFinder::quick(), news, clock: None, now: Time::ZERO })
        };
        let texts = job.streams.iter().map(text).collect();
        ReadLoop { job, reader, texts }
    }

    fn run(&mut self) -> Result<()> {
        while let Some((position, work)) = self.job.inbox.take() {
            let stream = self.job.streams[position].clone();
            let ended = work.ended;
            if let Some(text) = &mut self.texts[position] {
                text.read(&mut self.reader, &self.job.metrics, &stream, work)?;
            }
            if ended {
                self.texts[position] = None;
                stream.end_text();
            }
        }
        Ok(())
    }
}

impl StreamText {
    fn read(
        &mut self,
        reader: &mut TextReader,
        metrics: &Metrics,
        stream: &LiveStream,
        work: TextWork<LookFrame>,
    ) -> Result<()> {
        let TextWork { strokes, look, ended } = work;
        let began = Instant::now();
        let (mut strokes, mut look) = (strokes.into_iter().peekable(), look);
        let until = look.as_ref().map(|(looked, _)| looked.frame.time);
        while let Some((time, map)) = strokes.next_if(|(time, _)| until.is_none_or(|until| *time <= until)) {
            self.now = time;
            self.finder.frame(time, map);
        }
        if let Some((looked, look)) = look.take() {
            self.look(reader, metrics, looked, look)?;
        }
        for (time, map) in strokes {
            self.now = time;
            self.finder.frame(time, map);
        }
        metrics.stage_seconds(Stage::Text, began.elapsed());
        self.report(stream, ended);
        if let Some(time) = until {
            stream.desk(|desk| desk.read(time));
        }
        Ok(())
    }

    fn look(&mut self, reader: &mut TextReader, metrics: &Metrics, looked: LookFrame, look: Look) -> Result<()> {
        let LookFrame { frame, wall } = looked;
        self.clock = Some((frame.time, frame.arrived.unwrap_or_else(Instant::now), wall));
        metrics.set_reading(true);
        let result = self.finder.look(reader, &frame, look);
        metrics.set_reading(false);
        result
    }

    /// Publishes what is new, and the lines that have gone.
    fn report(&mut self, stream: &LiveStream, ended: bool) {
        let visible = self.finder.visible();
        let joins = stream.desk(|desk| desk.held() > 0);
        if let Some(statement) = self.news.update(self.now, &visible, joins)
            && let Some(caption) = self.caption(statement)
        {
            stream.describe_text(caption, Instant::now());
        }
        let update = if ended { self.finder.finish(self.now) } else { self.finder.update() };
        if !update.ended.is_empty() {
            stream.publish(EventKind::Text(update.ended.into()));
        }
        // Other lines change by whole words, which is seen without that.
        let lines = self.finder.numbers().into_iter().take(MOST_LINES).collect();
        stream.desk(|desk| desk.set_lines(lines));
    }

    fn caption(&self, statement: TextStatement) -> Option<LiveCaption> {
        let TextStatement { at, looked, text, lines, confidence } = statement;
        let (time, arrived, wall) = self.clock?;
        let before = Duration::from_micros((time - at).micros().max(0) as u64);
        Some(LiveCaption {
            start: at,
            picture_time: looked,
            due: at,
            wall: wall.checked_sub(before).unwrap_or(wall),
            arrived: arrived.checked_sub(before).unwrap_or(arrived),
            waited: Duration::ZERO,
            text: sentence(&text),
            score: Some(confidence),
            returning: false,
            screen_text: lines.into(),
            jpeg: Arc::new([]),
        })
    }
}
