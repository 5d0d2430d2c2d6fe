//! Films and pictures.

use descry::interrupt::Interrupt;
use descry::media::{DecodeOptions, DecodedFrames, PictureOptions, SideTrack, Source, TrackChoice, open_picture};
use descry::scene::{Keyframe, KeyframeOptions, KeyframeSelector, SceneOptions};
use descry::time::Time;

use crate::coverage::reached;
use crate::scratch::{check_error, scratch_file, text};

/// Most pixels of a frame or a picture: enough for the seeds.
const PIXELS: u64 = 1 << 19;
/// Frames that are decoded of a film.
const FRAMES: usize = 240;

/// Container bytes to keyframes: opens, decodes and selects as `describe` does.
///
/// The times of frames increase, no frame has more pixels than allowed, and keyframes divide the film without a gap.
pub(crate) fn film(data: &[u8]) {
    let path = scratch_file("film", data);
    let options = DecodeOptions {
        threads: 1,
        max_pixels: PIXELS,
        // Another way through the demuxer, for some inputs of each kind.
        frames: match data.len() % 8 {
            0 => DecodedFrames::Keyframes,
            1..3 => DecodedFrames::Fast,
            _ => DecodedFrames::All,
        },
        side_track: match data.len() % 4 {
            0 => SideTrack::Nothing,
            1 => SideTrack::Subtitles(TrackChoice::Usual),
            _ => SideTrack::Audio(TrackChoice::Usual),
        },
        start: data.len().is_multiple_of(16).then_some(Time::from_millis(80)),
        ..DecodeOptions::default()
    };
    let mut source = match Source::open(&text(&path).into(), &options, Interrupt::new()) {
        Ok(source) => source,
        Err(error) => return check_error(&error),
    };
    let info = source.info().clone();
    reached((&info.container, &info.codec, &info.pixel_format, info.rotation));
    assert!(u64::from(info.width) * u64::from(info.height) <= PIXELS, "{}×{} pixels", info.width, info.height);
    assert!(info.duration.is_none_or(|d| d.is_finite() && d > 0.0), "a duration of {:?} s", info.duration);
    let mut selector = KeyframeSelector::new(&SceneOptions::default(), &KeyframeOptions::default()).with_spread(2);
    let (mut last, mut frames, mut keyframes, mut read) = (None, 0, Vec::new(), (0, Time::ZERO));
    while frames < FRAMES {
        let frame = match source.next() {
            Ok(Some(frame)) => frame,
            Ok(None) => break,
            Err(error) => {
                check_error(&error);
                break;
            }
        };
        read = check_side_track(&mut source, read);
        assert!(last.is_none_or(|last| last < frame.time), "{} after {last:?}", frame.time);
        last = Some(frame.time);
        let thumb = match frame.thumb() {
            Ok(thumb) => thumb,
            Err(error) => return check_error(&error),
        };
        if frames == 0 {
            // A damaged frame is an error here, and never a picture of another size.
            match frame.to_rgb() {
                Ok(picture) => assert_eq!(picture.data.len(), picture.width as usize * picture.height as usize * 3),
                Err(error) => check_error(&error),
            }
        }
        keyframes.extend(selector.push(thumb, frames));
        frames += 1;
    }
    reached(("frames", frames.ilog2_or_zero()));
    let _ = source.damage().to_string();
    keyframes.extend(selector.finish(source.end()));
    check_keyframes(&keyframes, frames);
}

/// Sound comes in order, is bounded, and does not begin before what was read already. Takes and returns the sample after the
/// last one, and up to when everything has been read.
fn check_side_track(source: &mut Source, (mut end, mut until): (u64, Time)) -> (u64, Time) {
    while let Some(data) = source.take_side_track() {
        let samples: usize = data.audio.iter().map(|chunk| chunk.samples.len()).sum();
        assert!(samples <= 30 * 16_000 && data.until >= until, "{samples} samples until {}", data.until);
        for chunk in &data.audio {
            assert!(chunk.start >= end && !chunk.samples.is_empty(), "sound at {} after {end}", chunk.start);
            end = chunk.end();
        }
        assert!(data.lines.iter().all(|line| line.start < line.end));
        until = data.until;
        reached(("side track", samples.ilog2_or_zero(), data.lines.len().ilog2_or_zero()));
    }
    (end, until)
}

/// Keyframes follow one another without a gap, each with its picture inside its stretch.
fn check_keyframes(keyframes: &[Keyframe<usize>], frames: usize) {
    assert_eq!(keyframes.is_empty(), frames == 0, "{frames} frames, and {} keyframes", keyframes.len());
    for k in keyframes {
        assert!(k.start < k.end && k.start <= k.time && k.time < k.end, "{k:?}");
        assert!(k.start_frame < k.end_frame && (k.start_frame..k.end_frame).contains(&k.index), "{k:?}");
        assert!(k.quality.is_finite() && k.spread.len() <= 2, "{k:?}");
        assert!(k.picture < frames && k.spread.iter().all(|picture| *picture < frames), "{k:?}");
    }
    for pair in keyframes.windows(2) {
        assert!(pair[0].end == pair[1].start && pair[0].end_frame == pair[1].start_frame, "{pair:?}");
        assert!(pair[0].scene == pair[1].scene || pair[0].scene + 1 == pair[1].scene, "{pair:?}");
    }
}

/// A number's magnitude, for counters.
trait Magnitude {
    fn ilog2_or_zero(self) -> u32;
}

impl Magnitude for usize {
    fn ilog2_or_zero(self) -> u32 {
        self.checked_ilog2().unwrap_or(0)
    }
}

/// Picture files as `caption` and `embed` read them: no more pixels than allowed, and three bytes for each.
pub(crate) fn picture(data: &[u8]) {
    let path = scratch_file("picture", data);
    match open_picture(&path, &PictureOptions { max_pixels: PIXELS }) {
        Ok(picture) => {
            let pixels = u64::from(picture.width) * u64::from(picture.height);
            assert!(pixels > 0 && pixels <= PIXELS, "{pixels} pixels");
            assert_eq!(picture.data.len() as u64, pixels * 3);
        }
        Err(error) => check_error(&error),
    }
}

/// Files of subtitles: lines in order of their start, each with an end after it, and none that lasts for hours.
pub(crate) fn dialogue(data: &[u8]) {
    match descry::fuzzing::dialogue(data) {
        Ok(dialogue) => {
            assert!(!dialogue.lines.is_empty() && dialogue.lines.is_sorted());
            for line in &dialogue.lines {
                assert!(line.text.chars().count() <= 500 && line.text.chars().any(char::is_alphanumeric));
                assert!(!line.text.chars().any(char::is_control), "{:?}", line.text);
                assert!(line.start < line.end && line.end - line.start <= Time::from_millis(600_000), "{line:?}");
            }
            reached(("lines", dialogue.lines.len().ilog2_or_zero()));
        }
        Err(error) => check_error(&error),
    }
}
