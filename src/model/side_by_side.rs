//! Two parts of a model, loaded at the same time.

use std::thread;

/// Calls both, the first on another thread, and returns when both are done. A panic of either goes on here.
pub(super) fn side_by_side<A: Send, B>(one: impl FnOnce() -> A + Send, other: impl FnOnce() -> B) -> (A, B) {
    thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        (one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), other)
    })
}
