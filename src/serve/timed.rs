//! A TCP stream whose writes have a time limit.
//!
//! hyper limits only how long a request's head may take. This stream adds the other limits: a client must take an answer in
//! a given time, and a client that reads events must not stall.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::lock::lock;

/// How long writes may take.
#[derive(Debug, Clone, Copy)]
enum WriteLimit {
    /// All of them must be done by then.
    Until(Instant),
    /// Each of them must make progress within this time.
    Stall(Duration),
}

/// The limit of one connection, shared with what answers on it.
#[derive(Debug, Default)]
pub(super) struct WriteTimer {
    limit: Mutex<Option<WriteLimit>>,
    expired: AtomicBool,
}

impl WriteTimer {
    /// All writes must be done within `time` from now, unless a limit is set already.
    pub(super) fn limit_answer(&self, time: Duration) {
        lock(&self.limit).get_or_insert(WriteLimit::Until(Instant::now() + time));
    }

    /// Each write must make progress within `time`.
    pub(super) fn limit_stall(&self, time: Duration) {
        *lock(&self.limit) = Some(WriteLimit::Stall(time));
    }

    /// Whether a write has failed for its limit.
    pub(super) fn has_expired(&self) -> bool {
        self.expired.load(Ordering::Relaxed)
    }

    fn expire(&self) -> io::Error {
        self.expired.store(true, Ordering::Relaxed);
        io::ErrorKind::TimedOut.into()
    }
}

pub(super) struct TimedStream {
    stream: TcpStream,
    timer: Arc<WriteTimer>,
    /// Runs while a write is stalled.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl TimedStream {
    pub(super) fn new(stream: TcpStream, timer: Arc<WriteTimer>) -> TimedStream {
        TimedStream { stream, timer, sleep: None }
    }

    /// Passes the result of a write on, or fails where its time is over.
    fn limit<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let limit = *lock(&self.timer.limit);
        if written.is_ready() {
            self.sleep = None;
            return match limit {
                Some(WriteLimit::Until(until)) if Instant::now() > until => Poll::Ready(Err(self.timer.expire())),
                _ => written,
            };
        }
        let until = match limit {
            None => return Poll::Pending,
            Some(WriteLimit::Until(until)) => until,
            Some(WriteLimit::Stall(time)) => Instant::now() + time,
        };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(until)));
        ready!(sleep.as_mut().poll(cx));
        Poll::Ready(Err(self.timer.expire()))
    }
}

impl AsyncRead for TimedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.limit(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.limit(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
