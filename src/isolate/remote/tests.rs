//! What is refused of a child that lies about the order of its frames.

use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use super::*;
use crate::isolate::wire::write_message;
use crate::media::DecodedFrames;
use crate::media::decode::MOST_PENDING;

/// A frame of 2 × 2 pixels, one each 40 ms.
fn frame(index: u64) -> SentFrame {
    let header = json!({
        "time": 40_000 * index.min(1_000),
        "index": index,
        "pts": null,
        "orientation": { "a": 1, "b": 0, "c": 0, "d": 1 },
        "sample_aspect": [1, 1],
        "flags": {
            "size": { "width": 2, "height": 2, "bits_per_pixel": 12 },
            "own_time": true,
            "damaged": false,
            "key": true,
            "unfiltered": false,
        },
    });
    SentFrame { header: serde_json::from_value(header).unwrap(), sharpness: 1.0, arrived: None, state: state() }
}

fn state() -> SourceState {
    let state = json!({
        "clock": { "origin": 0, "from_container": true, "shift": 0, "last": null, "step": 40_000 },
        "damage": { "packets": 0, "frames": 0, "sound": 0, "late_sound": false, "stopped": null, "missing": null },
        "losses": 0, "packets": 0, "skipped": 0, "left_out": 0, "end": 0,
        "waited": { "secs": 0, "nanos": 0 },
        "lost": false, "over": false, "passed_end": false,
    });
    serde_json::from_value(state).unwrap()
}

fn info() -> StreamInfo {
    let info = json!({
        "container": "test", "codec": "test", "width": 2, "height": 2, "sample_aspect": [1, 1], "rotation": 0,
        "duration": null, "frame_rate": null, "pixel_format": "yuv420p", "start_time": 0.0,
    });
    serde_json::from_value(info).unwrap()
}

/// The frames that a parent takes of a child that sends two messages of frames, and the error after them.
fn taken(kind: DecodedFrames, messages: [&[u64]; 2]) -> (Vec<u64>, Option<String>) {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("child");
    let mut bytes = Vec::new();
    let ready =
        Reply::Ready(env!("CARGO_PKG_VERSION").into(), Protection { files: false, calls: false, device: false });
    write_message(&mut bytes, &ready, &[]).unwrap();
    write_message(&mut bytes, &Reply::Opened(Box::new(info()), Box::new(state())), &[]).unwrap();
    let ended = [None, Some(NoFrame::Ended)];
    for (indices, reason) in messages.into_iter().zip(ended) {
        let frames: Vec<_> = indices.iter().map(|&index| frame(index)).collect();
        let samples = vec![0; frames.len() * SAMPLES];
        write_message(&mut bytes, &Reply::Frames(frames, reason, Box::new(state())), &samples).unwrap();
    }
    std::fs::write(dir.path().join("replies"), bytes).unwrap();
    symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/isolation/child.sh"), &program).unwrap();
    let isolation = Isolation { program, limit: Isolation::LIMIT };
    let options = DecodeOptions { frames: kind, ..DecodeOptions::default() };
    let mut source = RemoteSource::open(&Address::new("film.mp4"), &options, &isolation, &Interrupt::new()).unwrap();
    let mut indices = Vec::new();
    loop {
        match source.next() {
            Ok(Some(frame)) => indices.push(frame.index),
            Ok(None) => return (indices, None),
            Err(e) => return (indices, Some(e.to_string())),
        }
    }
}

fn refused(kind: DecodedFrames, messages: [&[u64]; 2]) -> Vec<u64> {
    let (indices, error) = taken(kind, messages);
    let error = error.unwrap_or_else(|| panic!("{messages:?} were taken: {indices:?}"));
    assert!(error.contains("frames are not in order"), "{error}");
    indices
}

#[test]
fn all_frames_follow_each_other_without_a_gap() {
    let all = DecodedFrames::All;
    assert_eq!(taken(all, [&[0, 1], &[2]]), (vec![0, 1, 2], None));
    assert_eq!(refused(all, [&[0, 1], &[3]]), [0, 1]);
    assert_eq!(refused(all, [&[0], &[0]]), [0]);
    assert!(refused(all, [&[1], &[]]).is_empty());
    assert!(refused(all, [&[0, 2], &[]]).iter().all(|&index| index == 0));
}

#[test]
fn fast_mode_leaves_out_no_more_frames_than_it_can() {
    let (fast, most) = (DecodedFrames::Fast, MOST_PENDING as u64);
    assert_eq!(taken(fast, [&[0], &[1 + most]]), (vec![0, 1 + most], None));
    assert_eq!(taken(fast, [&[most], &[2 * most + 1]]), (vec![most, 2 * most + 1], None));
    assert_eq!(refused(fast, [&[0], &[2 + most]]), [0]);
    assert!(refused(fast, [&[most + 1], &[]]).is_empty());
    assert_eq!(refused(fast, [&[5], &[5]]), [5]);
    assert_eq!(refused(fast, [&[5], &[4]]), [5]);
    assert_eq!(refused(fast, [&[5], &[u64::MAX]]), [5]);
}
