//! What a parent makes of the replies of a child, for the fuzz target: the checks of [`trust`](super::trust) in the order in
//! which the parent makes them, without a process.

use std::sync::Arc;

use ffmpeg_next as ff;
use serde_json::json;

use super::picture::read_picture;
use super::trust::{CheckedSideTrack, FrameOrder, SAMPLES, check_info, clean_state, error, fault_of};
use super::wire::{LONGEST_REPLY, NoFrame, Reply, SentError, SentFrame, SourceState, read_message, write_message};
use crate::error::{Error, Result};
use crate::media::frame::{AwayPicture, FrameHeader};
use crate::media::{
    AudioChunk, DecodeOptions, DialogueLine, Frame, ProgrammeChunk, SideTrackData, StreamFault, StreamInfo,
};
use crate::time::Time;

/// Most pixels of a picture.
const MAX_PIXELS: u64 = 1 << 20;
/// Longest side of the pictures that are made, in pixels.
const LONGEST: u32 = 320;

/// What was believed of replies, up to the first that was not.
#[derive(Default)]
pub struct ReceivedReplies {
    /// What was said about the streams.
    pub infos: Vec<StreamInfo>,
    /// Errors.
    pub errors: Vec<Error>,
    /// Faults of live sources, and what is said about damage, as texts for people.
    pub texts: Vec<String>,
    /// Times of frames.
    pub frames: Vec<Time>,
    /// Data of side tracks.
    pub side_tracks: Vec<SideTrackData>,
    /// Width and height of pictures, and how many bytes they have.
    pub pictures: Vec<(u32, u32, usize)>,
}

/// A picture that came with its header.
struct SentPicture(ff::frame::Video);

impl AwayPicture for SentPicture {
    fn fetch(&self) -> Result<&ff::frame::Video> {
        Ok(&self.0)
    }

    fn fetched(&self) -> Option<&ff::frame::Video> {
        Some(&self.0)
    }

    fn identity(&self) -> u64 {
        0
    }

    fn samples(&self) -> (&[u8], f32) {
        (&[0; SAMPLES], 0.0)
    }

    fn strokes(&self) -> Option<&[u8]> {
        None
    }
}

/// Receives replies, one behind the other.
pub fn received(mut bytes: &[u8]) -> ReceivedReplies {
    let options = DecodeOptions { max_pixels: MAX_PIXELS, ..DecodeOptions::default() };
    let (mut order, mut side_track, mut last) = (FrameOrder::new(&options), CheckedSideTrack::default(), None);
    let mut all = ReceivedReplies::default();
    while let Ok((reply, behind)) = read_message::<Reply>(&mut bytes, LONGEST_REPLY) {
        let state = match reply {
            Reply::Opened(mut info, state) => {
                if check_info(&mut info, MAX_PIXELS).is_err() {
                    return all;
                }
                all.infos.push(*info);
                Some(state)
            }
            Reply::Failed(e) => {
                all.errors.push(error(e, "film.mp4"));
                None
            }
            Reply::Fault(fault) => {
                all.texts.push(fault_of(fault).to_string());
                None
            }
            Reply::Frames(frames, reason, state) => {
                if order.count(&frames, &behind).is_err() {
                    return all;
                }
                for sent in frames {
                    if order.receive(&sent).is_err() {
                        return all;
                    }
                    all.frames.push(sent.header.time);
                    last = Some(sent.header);
                }
                if let Some(NoFrame::Failed(e)) = reason {
                    all.errors.push(error(e, "film.mp4"));
                }
                Some(state)
            }
            Reply::SideTrack(data, state) => {
                if !behind.is_empty() || side_track.receive(data).is_err() {
                    return all;
                }
                all.side_tracks.extend(side_track.take());
                Some(state)
            }
            Reply::Picture(header) => {
                let Ok(picture) = read_picture(&header, MAX_PIXELS, &mut bytes) else { return all };
                all.pictures.extend(last.as_ref().and_then(|last| converted(last, picture)));
                None
            }
            Reply::Working | Reply::MayAllocate(_) | Reply::Ready(..) | Reply::Identity(_) => None,
        };
        all.texts.extend(state.map(|state| clean_state(*state).damage.to_string()));
    }
    all
}

/// Width, height and bytes of a picture as models see it.
fn converted(header: &FrameHeader, picture: ff::frame::Video) -> Option<(u32, u32, usize)> {
    let frame = Frame::away(header, None, Arc::new(SentPicture(picture)));
    let _ = frame.thumb();
    let picture = frame.to_rgb_within(LONGEST).ok()?;
    Some((picture.width, picture.height, picture.data.len()))
}

/// What the fuzzer begins with: replies of each kind, by name.
///
/// # Errors
/// If a reply cannot be written.
pub fn reply_seeds() -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let of = |replies: &[(Reply, Vec<u8>)]| {
        let mut bytes = Vec::new();
        replies.iter().try_for_each(|(reply, behind)| write_message(&mut bytes, reply, behind)).map(|()| bytes)
    };
    let track = |data: SideTrackData| -> std::io::Result<(Reply, Vec<u8>)> {
        Ok((Reply::SideTrack(data, boxed(state())?), Vec::new()))
    };
    let sound = |start: u64, pts: i64, until: i64| SideTrackData {
        audio: vec![AudioChunk { start, samples: vec![0.25, -0.5, f32::NAN] }],
        programme: vec![ProgrammeChunk { pts: Time::from_millis(pts), samples: vec![0.5, -0.5, f32::INFINITY, 1e30] }],
        until: Time::from_millis(until),
        ..SideTrackData::default()
    };
    let line = DialogueLine { start: Time::ZERO, end: Time::from_millis(900), text: "Who is there?".into() };
    let lines = SideTrackData { lines: vec![line], until: Time::MAX, ..SideTrackData::default() };
    let input =
        SentError::Input { input: "x".into(), cause: "it is\u{1b}[2J broken".into(), remedy: "Mend it.".into() };
    let opened = |fault: Option<&str>| -> std::io::Result<(Reply, Vec<u8>)> {
        Ok((Reply::Opened(Box::new(info(fault)?), boxed(state())?), Vec::new()))
    };
    let picture = |format: &str, bytes: usize| -> std::io::Result<Vec<u8>> {
        let header = json!({
            "format": format, "width": 4, "height": 4, "colorspace": 1, "range": 1, "interlaced": false, "position": 0,
        });
        let mut seed = of(&[frames(0)?, (Reply::Picture(serde_json::from_value(header)?), Vec::new())])?;
        seed.extend(vec![90; bytes]);
        Ok(seed)
    };
    Ok(vec![
        ("opened".into(), of(&[opened(None)?, opened(Some("no decoder"))?])?),
        ("sound".into(), of(&[opened(None)?, track(sound(0, -20, 1))?, track(sound(3, 5_000, 2))?])?),
        ("lines".into(), of(&[track(lines)?])?),
        ("frames".into(), of(&[frames(0)?, frames(1)?])?),
        ("yuv".into(), picture("yuv420p", 24)?),
        ("palette".into(), picture("pal8", 16 + 1_024)?),
        ("failed".into(), of(&[(Reply::Failed(input.clone()), Vec::new()), ended(input)?])?),
        ("fault".into(), of(&[(Reply::Fault(StreamFault::Lost("http://u:p@h/?k=v is gone".into())), Vec::new())])?),
    ])
}

fn boxed(state: serde_json::Value) -> std::io::Result<Box<SourceState>> {
    Ok(Box::new(serde_json::from_value(state)?))
}

fn ended(e: SentError) -> std::io::Result<(Reply, Vec<u8>)> {
    Ok((Reply::Frames(Vec::new(), Some(NoFrame::Failed(e)), boxed(state())?), Vec::new()))
}

fn frames(index: u64) -> std::io::Result<(Reply, Vec<u8>)> {
    let header = json!({
        "time": 40_000 * index, "index": index, "pts": 1_000, "sample_aspect": [1, 1],
        "orientation": { "a": 0, "b": 1, "c": -1, "d": 0 },
        "flags": {
            "size": { "width": 4, "height": 4, "bits_per_pixel": 12 },
            "own_time": true, "damaged": false, "key": true, "unfiltered": false,
        },
    });
    let state_after = *boxed(state())?;
    let sent =
        SentFrame { header: serde_json::from_value(header)?, sharpness: 1.0, arrived: Some(7), state: state_after };
    Ok((Reply::Frames(vec![sent], None, boxed(state())?), vec![60; SAMPLES]))
}

fn state() -> serde_json::Value {
    json!({
        "clock": { "origin": 0, "from_container": true, "shift": 0, "last": null, "step": 40_000 },
        "damage": { "packets": 1, "frames": 0, "sound": 2, "late_sound": true, "stopped": "it\tbroke", "missing": 1.5 },
        "losses": 0, "packets": 9, "skipped": 0, "left_out": 0, "end": 0,
        "waited": { "secs": 0, "nanos": 0 },
        "lost": false, "over": false, "passed_end": false,
    })
}

fn info(fault: Option<&str>) -> std::io::Result<StreamInfo> {
    let track = json!({
        "number": 1, "stream": 1, "codec": "aac", "channels": 6, "sample_rate": 44_100, "language": "en", "default": true,
        "special": false,
    });
    Ok(serde_json::from_value(json!({
        "container": "mpegts", "codec": "h264", "width": 4, "height": 4, "sample_aspect": [1, 1], "rotation": 90,
        "duration": 3.5, "frame_rate": 25.0, "pixel_format": "yuv420p", "start_time": 1.4,
        "listens_to": track, "unheard": fault,
    }))?)
}
