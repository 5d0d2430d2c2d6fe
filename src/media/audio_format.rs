//! The rate and the channels of audio.

use ffmpeg_next::ffi;

use crate::media::ffmpeg::sound::speaker;

/// A rate and channels.
pub(crate) struct AudioFormat {
    /// In Hz.
    pub(crate) rate: u32,
    layout: ffi::AVChannelLayout,
}

/// Where a channel is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChannelPlace {
    FrontLeft,
    FrontRight,
    FrontCentre,
    Low,
    /// Beside, behind or above.
    Around,
}

impl AudioFormat {
    /// This many channels, in FFmpeg's default layout.
    pub(crate) fn usual(rate: u32, channels: u32) -> AudioFormat {
        // SAFETY: a plain structure of C, which may be zero; FFmpeg fills it for any number.
        let mut layout: ffi::AVChannelLayout = unsafe { std::mem::zeroed() };
        // SAFETY: a valid place.
        unsafe { ffi::av_channel_layout_default(&raw mut layout, i32::try_from(channels).unwrap_or(2)) };
        AudioFormat { rate, layout }
    }

    /// A copy of a layout of FFmpeg's. None if nothing can be mixed in it.
    ///
    /// # Safety
    /// `layout` must be valid.
    pub(super) unsafe fn of(rate: u32, layout: *const ffi::AVChannelLayout) -> Option<AudioFormat> {
        // SAFETY: a plain structure of C, which may be zero.
        let mut format = AudioFormat { rate, layout: unsafe { std::mem::zeroed() } };
        // SAFETY: both are valid. A layout without an order gets that which is usual for its number of channels.
        unsafe {
            let has_order = ffi::av_channel_layout_check(layout) == 1 && speaker(layout, 0) >= 0;
            if has_order && ffi::av_channel_layout_copy(&raw mut format.layout, layout) == 0 {
                return Some(format);
            }
            let channels = (*layout).nb_channels;
            u32::try_from(channels).ok().filter(|n| (1..=8).contains(n)).map(|n| AudioFormat::usual(rate, n))
        }
    }

    pub(crate) fn channels(&self) -> usize {
        usize::try_from(self.layout.nb_channels).unwrap_or(0)
    }

    /// Where its channels are heard, in their order.
    pub(crate) fn places(&self) -> Vec<ChannelPlace> {
        use ffi::AVChannel::{AV_CHAN_FRONT_CENTER, AV_CHAN_FRONT_LEFT, AV_CHAN_FRONT_RIGHT, AV_CHAN_LOW_FREQUENCY};
        let name = |channel| {
            // SAFETY: the layout is valid.
            let found = unsafe { speaker(&raw const self.layout, channel) };
            match found {
                _ if found == AV_CHAN_FRONT_LEFT as i32 => ChannelPlace::FrontLeft,
                _ if found == AV_CHAN_FRONT_RIGHT as i32 => ChannelPlace::FrontRight,
                _ if found == AV_CHAN_FRONT_CENTER as i32 => ChannelPlace::FrontCentre,
                _ if found == AV_CHAN_LOW_FREQUENCY as i32 => ChannelPlace::Low,
                _ => ChannelPlace::Around,
            }
        };
        (0..self.channels() as u32).map(name).collect()
    }

    /// Copies the channels to a place of FFmpeg's.
    ///
    /// # Safety
    /// `to` must be valid.
    pub(super) unsafe fn copy_to(&self, to: *mut ffi::AVChannelLayout) -> i32 {
        // SAFETY: both are valid.
        unsafe { ffi::av_channel_layout_copy(to, &raw const self.layout) }
    }

    /// The same channels at another rate.
    pub(crate) fn with_rate(&self, rate: u32) -> AudioFormat {
        let mut copy = AudioFormat::usual(rate, 1);
        // SAFETY: both are valid.
        unsafe { self.copy_to(&raw mut copy.layout) };
        copy
    }
}

impl Clone for AudioFormat {
    fn clone(&self) -> AudioFormat {
        self.with_rate(self.rate)
    }
}

// SAFETY: FFmpeg's structure owns what it points to, and is bound to no thread.
unsafe impl Send for AudioFormat {}

impl Drop for AudioFormat {
    fn drop(&mut self) {
        // SAFETY: valid, and dropped here alone.
        unsafe { ffi::av_channel_layout_uninit(&raw mut self.layout) };
    }
}
