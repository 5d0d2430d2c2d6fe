//! The locks of the queues between threads. Under the feature `interleavings`, tests replace them by those of `shuttle`, which
//! runs the threads in one order after another.

#[cfg(all(test, feature = "interleavings"))]
pub(super) use shuttle::sync::{Condvar, Mutex, MutexGuard};
#[cfg(not(all(test, feature = "interleavings")))]
pub(super) use std::sync::{Condvar, Mutex, MutexGuard};
