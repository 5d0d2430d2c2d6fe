//! What a child was started for, and what every child does first.

use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigHandler, Signal};

/// The one argument of a child that decodes.
pub(super) const DECODE: &str = "decode-for-descry";
/// The one argument of a child that renders a template.
pub(super) const RENDER: &str = "render-for-descry";
/// Whether this program does what it is asked for if it is started as a child.
static CAN_BE_ASKED_FOR: AtomicBool = AtomicBool::new(false);

/// What a child is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ChildTask {
    Decode,
    Render,
}

/// What this process was started for, if another one has started it.
pub(super) fn child_task() -> Option<ChildTask> {
    let mut arguments = std::env::args_os().skip(1);
    let (argument, alone) = (arguments.next()?, arguments.next().is_none());
    let tasks = [(DECODE, ChildTask::Decode), (RENDER, ChildTask::Render)];
    tasks.into_iter().find(|(name, _)| alone && argument == *name).map(|(_, task)| task)
}

/// Whether another process of descry has started this one to work for it: to decode, or to render a model's chat template.
/// Then `main` calls [`serve`](super::serve) and returns. A program that asks gets children of its own: descry may start it
/// again.
pub fn is_asked_for() -> bool {
    CAN_BE_ASKED_FOR.store(true, Ordering::Relaxed);
    child_task().is_some()
}

/// Whether this program has asked [`is_asked_for`].
pub(super) fn can_be_asked_for() -> bool {
    CAN_BE_ASKED_FOR.load(Ordering::Relaxed)
}

/// Before anything else: ends with the parent, leaves signals to it, and has no descriptor that it does not need.
pub(super) fn prepare() {
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: ignoring a signal runs no code.
        let _ = unsafe { nix::sys::signal::signal(signal, SigHandler::SigIgn) };
    }
    #[cfg(target_os = "linux")]
    // SAFETY: this program has opened nothing yet that it refers to, besides the three standard descriptors.
    unsafe {
        nix::libc::syscall(nix::libc::SYS_close_range, 3, nix::libc::c_uint::MAX, 0);
    }
}
