//! What a decoder's process sends, which may have been taken over by the film that it decodes.

use descry::fuzzing::{forget_secrets, received_replies};
use descry::media::{AUDIO_RATE, LONGEST_LINE, PROGRAMME_CHANNELS, PROGRAMME_RATE};
use descry::time::Time;

use crate::scratch::check_error;

/// Latest time that is believed: a little more than 10 years.
const LATEST: Time = Time::from_millis(10 * 366 * 86_400_000 + 60_000);

/// Replies: what is believed is in order, plausible and bounded, and what people read has no control characters.
pub(crate) fn replies(data: &[u8]) {
    forget_secrets();
    let all = received_replies(data);
    for error in &all.errors {
        check_error(error);
    }
    let words = all.infos.iter().flat_map(|info| {
        let track = info.side_track.iter().flat_map(|track| [Some(&track.codec), track.language.as_ref()]).flatten();
        [&info.container, &info.codec, &info.pixel_format]
            .into_iter()
            .chain(info.side_track_fault.as_ref())
            .chain(track)
    });
    for text in words.chain(&all.texts) {
        assert!(text.len() < 16 << 10 && !text.chars().any(char::is_control), "{text:?}");
    }
    for info in &all.infos {
        let _ = info.frame_size();
    }
    assert!(all.frames.is_sorted_by(|a, b| a < b), "{:?}", all.frames);
    let mut until = Time::ZERO;
    let mut end = 0;
    for data in &all.side_tracks {
        assert!(data.until >= until && (data.until <= LATEST || data.until == Time::MAX), "{:?}", data.until);
        until = data.until;
        for chunk in &data.audio {
            assert!(chunk.start >= end && !chunk.samples.is_empty());
            end = chunk.end();
        }
        let heard: usize = data.audio.iter().map(|chunk| chunk.samples.len()).sum();
        assert!(heard <= 2 * AUDIO_RATE as usize, "{heard} samples at once");
        let programme: usize = data.programme.iter().map(|chunk| chunk.samples.len()).sum();
        assert!(programme <= PROGRAMME_RATE as usize, "{programme} samples at once");
        for chunk in &data.programme {
            assert!(
                chunk.samples.len() % PROGRAMME_CHANNELS == 0
                    && chunk.pts <= LATEST
                    && Time::ZERO - chunk.pts <= LATEST
            );
        }
        for line in &data.lines {
            assert!(line.start < line.end && line.text.chars().count() <= LONGEST_LINE, "{line:?}");
        }
    }
    for (width, height, bytes) in all.pictures {
        assert!(bytes == width as usize * height as usize * 3 && bytes > 0, "{width} × {height}: {bytes}");
    }
}
