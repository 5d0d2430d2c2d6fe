//! Ctrl-C and SIGTERM: the first asks all stages to stop, the second ends the process immediately.

use std::thread;
use std::time::Duration;

use super::exit::Exit;
use crate::interrupt::Interrupt;

/// How long live mode may take to stop after a signal. It promises to exit within 3 s.
pub(super) const LIVE_GRACE: Duration = Duration::from_millis(2_800);

/// Sets `interrupt` on the first signal and exits on the second, or on the first if nothing is lost by it. With a `grace` period, the process also exits that long
/// after the first signal, whatever still runs.
pub(super) fn install(interrupt: &Interrupt, grace: Option<Duration>) {
    let interrupt = interrupt.clone();
    // Without a handler the first signal ends the process, which is the best that is left.
    let _ = ctrlc::set_handler(move || {
        if interrupt.is_set() || !interrupt.set() {
            Exit::Interrupted.leave();
        }
        if let Some(grace) = grace {
            let _ = thread::Builder::new().spawn(move || {
                thread::sleep(grace);
                Exit::Interrupted.leave()
            });
        }
    });
}
