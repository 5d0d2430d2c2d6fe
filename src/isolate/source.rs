//! A source of frames: in this process, or in one of its own.

use std::sync::Arc;
use std::time::Duration;

use super::options::Isolation;
use super::protection::Protection;
use crate::address::Address;
use crate::digest::Digest;
use crate::error::Result;
use crate::interrupt::Interrupt;
use crate::media::SideTrackData;
use crate::media::decode::Polled;
use crate::media::{Advance, Damage, DecodeOptions, Frame, FrameGate, Source, StreamAccess, StreamFault, StreamInfo};
use crate::time::Time;

#[cfg(unix)]
use super::remote::RemoteSource;

/// A [`Source`] in this process or in a child process. Both give the same frames and errors. A frame of a child has its
/// picture for as long as the source is there, unless the picture was used before or the source was [retired](Self::retire).
pub struct FrameSource(SourcePlace);

enum SourcePlace {
    Here(Box<Source>),
    #[cfg(unix)]
    Away(Box<RemoteSource>),
}

/// Calls `$here` on a source in this process, `$away` on one in a child.
macro_rules! at_place {
    ($self:expr, $here:ident => $one:expr, $away:ident => $other:expr) => {
        match $self {
            SourcePlace::Here($here) => $one,
            #[cfg(unix)]
            SourcePlace::Away($away) => $other,
        }
    };
}

impl FrameSource {
    /// Opens an input and its best video stream, in a process of its own if `isolation` is given. Nothing is decoded yet.
    ///
    /// # Errors
    /// As [`Source::open`], and if the process cannot be started.
    pub fn open(
        input: &Address,
        options: &DecodeOptions,
        isolation: Option<&Isolation>,
        interrupt: Interrupt,
    ) -> Result<FrameSource> {
        Ok(FrameSource(match isolation {
            None => SourcePlace::Here(Box::new(Source::open(input, options, interrupt)?)),
            #[cfg(unix)]
            Some(isolation) => SourcePlace::Away(Box::new(RemoteSource::open(input, options, isolation, &interrupt)?)),
            #[cfg(not(unix))]
            Some(_) => return Err(super::options::unsupported()),
        }))
    }

    /// Opens a live source, in a process of its own if `isolation` is given.
    ///
    /// # Errors
    /// The kind of the failure.
    pub fn connect(
        access: &StreamAccess,
        options: &DecodeOptions,
        isolation: Option<&Isolation>,
        interrupt: Interrupt,
    ) -> Result<FrameSource, StreamFault> {
        Ok(FrameSource(match isolation {
            None => SourcePlace::Here(Box::new(Source::connect(access, options, interrupt)?)),
            #[cfg(unix)]
            Some(isolation) => {
                SourcePlace::Away(Box::new(RemoteSource::connect(access, options, isolation, &interrupt)?))
            }
            #[cfg(not(unix))]
            Some(_) => return Err(StreamFault::Unreachable(super::options::unsupported().to_string())),
        }))
    }

    /// What protects this process from the decoder; none where it runs in this process.
    pub fn protection(&self) -> Option<Protection> {
        at_place!(&self.0, _here => None, away => Some(away.protection()))
    }

    /// Whether the decoder's process is gone. Its film has failed.
    pub fn has_crashed(&self) -> bool {
        at_place!(&self.0, _here => false, away => away.has_failed())
    }

    /// As [`Source::guard`]. Limits the decoder's process to a multiple of what the gate says that its frames take.
    pub fn guard(&mut self, gate: Arc<dyn FrameGate>) {
        at_place!(&mut self.0, here => here.guard(gate), away => away.guard(gate));
    }

    /// Makes the frames that somebody holds independent of the source, which will be dropped.
    pub fn retire(&mut self) {
        at_place!(&mut self.0, _here => {}, away => away.retire());
    }

    /// As [`Source::info`].
    pub fn info(&self) -> &StreamInfo {
        at_place!(&self.0, here => here.info(), away => away.info())
    }

    /// As [`Source::next`].
    ///
    /// # Errors
    /// As [`Source::next`], and if the decoder's process fails.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Frame>> {
        at_place!(&mut self.0, here => here.next(), away => away.next())
    }

    /// As [`FrameSource::next`], but pending where data of the side track comes first: [`FrameSource::take_side_track`]
    /// returns it then.
    ///
    /// # Errors
    /// As [`FrameSource::next`].
    pub(crate) fn poll(&mut self) -> Result<Polled> {
        at_place!(&mut self.0, here => here.poll(), away => away.poll())
    }

    /// As [`Source::take_side_track`].
    pub fn take_side_track(&mut self) -> Option<SideTrackData> {
        at_place!(&mut self.0, here => here.take_side_track(), away => away.take_side_track())
    }

    /// As [`Source::advance`].
    ///
    /// # Errors
    /// As [`Source::advance`]. A decoder's process that fails has lost the connection.
    pub fn advance(&mut self) -> Result<Advance, StreamFault> {
        at_place!(&mut self.0, here => here.advance(), away => away.advance())
    }

    /// As [`Source::set_keyframes_only`].
    pub fn set_keyframes_only(&mut self, on: bool) {
        at_place!(&mut self.0, here => here.set_keyframes_only(on), away => away.set_keyframes_only(on));
    }

    /// As [`Source::damage`].
    pub fn damage(&self) -> &Damage {
        at_place!(&self.0, here => here.damage(), away => &away.state().damage)
    }

    /// As [`Source::losses`].
    pub fn losses(&self) -> u64 {
        at_place!(&self.0, here => here.losses(), away => away.state().losses)
    }

    /// As [`Source::is_lost`].
    pub fn is_lost(&self) -> bool {
        at_place!(&self.0, here => here.is_lost(), away => away.state().lost)
    }

    /// As [`Source::is_over`].
    pub fn is_over(&self) -> bool {
        at_place!(&self.0, here => here.is_over(), away => away.state().over)
    }

    /// As [`Source::has_more`].
    pub fn has_more(&self) -> bool {
        at_place!(&self.0, here => here.has_more(), away => away.state().passed_end)
    }

    /// As [`Source::has_clock`].
    pub fn has_clock(&self) -> bool {
        at_place!(&self.0, here => here.has_clock(), away => away.state().clock.is_from_container())
    }

    /// As [`Source::digest`].
    pub fn digest(&self, digest: &mut Digest) {
        at_place!(&self.0, here => here.digest(digest), away => away.state().clock.digest(digest));
    }

    /// As [`Source::end`].
    pub fn end(&self) -> Time {
        at_place!(&self.0, here => here.end(), away => away.state().end)
    }

    /// As [`Source::packets`].
    pub fn packets(&self) -> u64 {
        at_place!(&self.0, here => here.packets(), away => away.state().packets)
    }

    /// As [`Source::skipped`].
    pub fn skipped(&self) -> u64 {
        at_place!(&self.0, here => here.skipped(), away => away.state().skipped)
    }

    /// As [`Source::left_out`].
    pub fn left_out(&self) -> u64 {
        at_place!(&self.0, here => here.left_out(), away => away.state().left_out)
    }

    /// As [`Source::waited`].
    pub fn waited(&self) -> Duration {
        at_place!(&self.0, here => here.waited(), away => away.state().waited)
    }
}
