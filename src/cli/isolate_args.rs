//! Options of decoding in processes of their own.

use std::time::Duration;

use clap::Args;

use super::reporter::Reporter;
use super::values;
use crate::error::Result;
use crate::isolate::{Isolation, Protection};
use crate::time::Time;

/// Where decoding takes place.
#[derive(Args)]
#[command(next_help_heading = "Decoding")]
pub(super) struct IsolateArgs {
    /// Decode each video in a sandboxed process of its own [default: on for index and live]
    ///
    /// A decoder that crashes, hangs or takes too much memory then costs one video. Linux also keeps it from other files, from
    /// programs and, if the video is a file, from the network.
    #[arg(long, overrides_with = "no_isolate")]
    isolate: bool,
    /// Decode in descry's own process
    #[arg(long, overrides_with = "isolate")]
    no_isolate: bool,
    /// Treat an isolated decoder as hung after this time without a sign of life [default: 30, or 10 in live mode]
    ///
    /// The time that a server may take comes on top of it.
    #[arg(long, value_name = "SECONDS", value_parser = values::time)]
    decoder_timeout: Option<Time>,
}

/// The shortest --decoder-timeout.
const SHORTEST: Duration = Duration::from_millis(100);

/// What a command does unless the user chooses otherwise.
pub(super) struct IsolateDefaults {
    /// Whether decoders are isolated.
    pub(super) isolate: bool,
    /// How long a decoder may be silent.
    pub(super) limit: Duration,
}

impl IsolateDefaults {
    /// For one video, or a few.
    pub(super) const FEW: IsolateDefaults = IsolateDefaults { isolate: false, limit: Isolation::LIMIT };
    /// For many videos, where nobody waits for each.
    pub(super) const MANY: IsolateDefaults = IsolateDefaults { isolate: true, limit: Isolation::LIMIT };
    /// For streams, whose descriptions must not wait long.
    pub(super) const LIVE: IsolateDefaults = IsolateDefaults { isolate: true, limit: Duration::from_secs(10) };
}

impl IsolateArgs {
    /// How decoders are isolated, and what protects from them; none where they run in this process. Reports
    /// what protects, and warns if that is not a whole sandbox.
    pub(super) fn settle(
        &self,
        defaults: &IsolateDefaults,
        hwaccel: bool,
        reporter: &Reporter,
    ) -> Result<Option<(Isolation, Protection)>> {
        if self.no_isolate || !(defaults.isolate || self.isolate) {
            return Ok(None);
        }
        if !Isolation::is_supported() && !self.isolate {
            reporter.warn("decoding in descry's own process: this system has no other way");
            return Ok(None);
        }
        let chosen = |limit: Time| Duration::from_micros(limit.micros().max(0).unsigned_abs()).max(SHORTEST);
        let limit = self.decoder_timeout.map_or(defaults.limit, chosen);
        let isolation = Isolation { limit, ..Isolation::of_this_program()? };
        // The first input's process starts while models load.
        isolation.prepare()?;
        let protection = Isolation::protection(hwaccel);
        if protection.is_full() {
            reporter.info(&format!("decoding in {protection}"));
        } else {
            reporter.warn(&format!("decoding in {protection}"));
        }
        Ok(Some((isolation, protection)))
    }
}
