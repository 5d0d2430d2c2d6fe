//! The option that reports the figures of a run.

use clap::Args;
#[cfg(unix)]
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::json;

use super::reporter::Reporter;
use crate::isolate::Protection;
use crate::pipeline::Stats;

/// Whether a run reports its figures.
#[derive(Args)]
#[command(next_help_heading = "Output")]
pub(super) struct StatsArgs {
    /// Print the busy time of each stage and the peak memory as JSON on standard error
    #[arg(long)]
    stats: bool,
}

impl StatsArgs {
    /// Reports the figures if they are wanted. `protection`: from decoders in processes of their own.
    pub(super) fn report(&self, stats: &Stats, protection: Option<Protection>, reporter: &Reporter) {
        if self.stats {
            let mut value = serde_json::to_value(stats).unwrap_or_default();
            value["decoding"] = json!(protection.map_or("in this process".to_string(), |p| p.to_string()));
            value["peak_rss_mb"] = json!(peak_rss_mb());
            if protection.is_some() {
                value["decoder_peak_rss_mb"] = json!(decoder_peak_rss_mb());
            }
            reporter.stats(&value);
        }
    }
}

/// Peak resident memory in MB of the largest decoder in a process of its own that has ended.
#[cfg(unix)]
fn decoder_peak_rss_mb() -> Option<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).ok()?;
    // In bytes on macOS.
    let unit = if cfg!(target_os = "macos") { 1 << 20 } else { 1 << 10 };
    Some(usage.max_rss() as f64 / f64::from(unit))
}

#[cfg(not(unix))]
fn decoder_peak_rss_mb() -> Option<f64> {
    None
}

/// Peak resident memory of this process in MB, where the system reports it.
fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kb| kb / 1024.0)
}
