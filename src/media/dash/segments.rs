//! The segments of one representation.

use reqwest::Url;

use super::MOST_SEGMENTS;
use super::manifest::{SegmentAddress, SegmentList, Template};

/// A part of an address: where it begins, and its length.
pub(super) type ByteRange = Option<(u64, u64)>;

/// A piece of media.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Segment {
    pub(super) url: Url,
    pub(super) range: ByteRange,
    pub(super) seconds: f64,
    /// What tells it from others, also in later versions of the manifest: its number, or its time.
    pub(super) mark: u64,
}

/// The segments of a period, and what comes before them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SegmentRun {
    pub(super) initialization: Option<(Url, ByteRange)>,
    pub(super) segments: Vec<Segment>,
}

/// Which segments of a period there are by now.
#[derive(Debug, Clone, Copy)]
pub(super) struct SegmentWindow {
    /// Seconds of the period, if its end is known.
    pub(super) length: Option<f64>,
    /// In a live presentation: from and to which second of the period segments are there.
    pub(super) live: Option<(f64, f64)>,
}

/// What an address of a template is made of.
pub(super) struct TemplateValues<'a> {
    pub(super) base: &'a Url,
    pub(super) id: &'a str,
    pub(super) bandwidth: u64,
}

impl TemplateValues<'_> {
    /// The segments that a template makes.
    pub(super) fn segments(&self, template: &Template, window: SegmentWindow) -> Result<SegmentRun, String> {
        let media = template.media.as_deref().ok_or("its segments have no address")?;
        let scale = template.timescale.filter(|scale| *scale > 0).unwrap_or(1);
        let by_time = media.contains("$Time$");
        let mut segments = Vec::new();
        for (number, time, duration) in pieces(template, scale, window)? {
            segments.push(Segment {
                url: self.url(&self.fill(media, number, time)?)?,
                range: None,
                seconds: duration as f64 / scale as f64,
                mark: if by_time { time } else { number },
            });
        }
        let initialization = template.initialization.as_deref().map(|text| self.url(&self.fill(text, 0, 0)?));
        Ok(SegmentRun { initialization: initialization.transpose()?.map(|url| (url, None)), segments })
    }

    /// The segments of a list.
    pub(super) fn listed(&self, list: &SegmentList) -> Result<SegmentRun, String> {
        if list.segments.len() > MOST_SEGMENTS {
            return Err(too_many());
        }
        let scale = list.timescale.filter(|scale| *scale > 0).unwrap_or(1);
        let seconds = list.duration.map_or(1.0, |duration| duration as f64 / scale as f64);
        let place = |address: &SegmentAddress| {
            let url = address.address.as_deref().map_or(Ok(self.base.clone()), |text| self.url(text))?;
            let range = address.range.as_deref().map(|text| range(text).ok_or("a part of an address is not valid"));
            Ok::<_, String>((url, range.transpose()?))
        };
        let segments = list.segments.iter().enumerate().map(|(n, address)| {
            let (url, range) = place(address)?;
            Ok(Segment { url, range, seconds, mark: n as u64 })
        });
        let initialization = list.initialization.as_ref().map(place).transpose()?;
        Ok(SegmentRun { initialization, segments: segments.collect::<Result<_, String>>()? })
    }

    fn url(&self, text: &str) -> Result<Url, String> {
        self.base.join(text).map_err(|_| "an address in it is not valid".into())
    }

    /// Replaces the identifiers of a template: `$Number$`, `$Number%05d$` and so on.
    fn fill(&self, text: &str, number: u64, time: u64) -> Result<String, String> {
        let mut out = String::new();
        let mut parts = text.split('$');
        out.push_str(parts.next().unwrap_or_default());
        while let Some(name) = parts.next() {
            let (name, format) = name.split_once('%').unwrap_or((name, ""));
            let width = format.trim_end_matches('d').parse::<usize>().unwrap_or(0).min(20);
            match name {
                "" => out.push('$'),
                "RepresentationID" => out.push_str(self.id),
                "Bandwidth" => out.push_str(&format!("{:0width$}", self.bandwidth)),
                "Number" => out.push_str(&format!("{number:0width$}")),
                "Time" => out.push_str(&format!("{time:0width$}")),
                _ => return Err("an address in it has an unknown identifier".into()),
            }
            out.push_str(parts.next().ok_or("an address in it is not complete")?);
        }
        Ok(out)
    }
}

fn too_many() -> String {
    format!("it has more than {MOST_SEGMENTS} segments")
}

/// Number, time and duration of each segment of a template, in its own units.
fn pieces(template: &Template, scale: u64, window: SegmentWindow) -> Result<Vec<(u64, u64, u64)>, String> {
    let (first, offset) = (template.start_number.unwrap_or(1), template.offset.unwrap_or(0));
    let units = |seconds: f64| (seconds * scale as f64).max(0.0).min(u64::MAX as f64 / 4.0) as u64;
    if let Some(timeline) = &template.timeline {
        let end = window.length.or(window.live.map(|(_, to)| to)).map(|length| offset.saturating_add(units(length)));
        return timed(timeline, first, end);
    }
    let Some(duration) = template.duration.filter(|duration| *duration > 0) else {
        let length = units(window.length.unwrap_or(1.0));
        return Ok(vec![(first, offset, length)]);
    };
    let seconds = duration as f64 / scale as f64;
    let last = window.length.map(|length| (length / seconds - 1e-6).ceil().max(0.0) as u64);
    let (from, to) = match window.live {
        Some((from, to)) => {
            let there = (to / seconds).floor().max(0.0) as u64;
            ((from / seconds).floor().max(0.0) as u64, last.map_or(there, |last| last.min(there)))
        }
        None => (0, last.ok_or("neither it nor its period says how long it is")?),
    };
    if to.saturating_sub(from) > MOST_SEGMENTS as u64 {
        return Err(too_many());
    }
    let piece = |n: u64| (first.saturating_add(n), offset.saturating_add(n.saturating_mul(duration)), duration);
    Ok((from..to.max(from)).map(piece).collect())
}

/// The segments of a timeline. `end` is the end of the period.
fn timed(
    timeline: &super::manifest::SegmentTimeline,
    first: u64,
    end: Option<u64>,
) -> Result<Vec<(u64, u64, u64)>, String> {
    let (mut found, mut time): (Vec<(u64, u64, u64)>, u64) = (Vec::new(), 0);
    for (n, run) in timeline.runs.iter().enumerate() {
        if run.duration == 0 {
            return Err("a segment in it has no length".into());
        }
        time = run.start.unwrap_or(time);
        let count = match run.repeat.unwrap_or(0) {
            more @ 0.. => (more as u64).saturating_add(1),
            _ => {
                let until = timeline.runs.get(n + 1).and_then(|next| next.start).or(end);
                until.map_or(1, |until| until.saturating_sub(time).div_ceil(run.duration))
            }
        };
        if count.saturating_add(found.len() as u64) > MOST_SEGMENTS as u64 {
            return Err(too_many());
        }
        for _ in 0..count {
            found.push((first.saturating_add(found.len() as u64), time, run.duration));
            time = time.saturating_add(run.duration);
        }
    }
    Ok(found)
}

/// A part that is written as its first and its last byte.
fn range(text: &str) -> Option<(u64, u64)> {
    let (first, last) = text.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    Some((first, last.checked_sub(first)?.checked_add(1)?))
}
