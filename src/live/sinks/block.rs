//! A cue as a block of WebVTT.

use crate::time::Time;
use crate::track::cue::Cue;
use crate::track::formats::{one_line, vtt_escape};

/// A cue's block, with the line feed that ends it. `offset`: the stream's time 0 in the file's time.
pub(super) fn cue_block(cue: &Cue, offset: Time) -> String {
    let mut block = format!("{} --> {}\n", offset + cue.start, offset + cue.end);
    for line in &cue.lines {
        block.push_str(&vtt_escape(&one_line(line)));
        block.push('\n');
    }
    block
}
