//! A TCP stream whose reads and writes have time limits.
//!
//! hyper limits neither: the head of a request must arrive in a given time, a connection that is kept must not be idle for
//! too long, a client must take an answer in a given time, and a client that reads a stream must not stall.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::lock::lock;

/// What is read from a connection, and until when.
#[derive(Debug, Clone, Copy)]
enum ReadPhase {
    /// Another request may begin until then.
    Idle(Instant),
    /// The rest of a request's head must arrive by then.
    Head(Instant),
    /// A request is answered. Whatever reads its body has a limit of its own.
    Request,
}

/// How long writes may take.
#[derive(Debug, Clone, Copy)]
enum WriteLimit {
    /// All of them must be done by then.
    Until(Instant),
    /// Each of them must make progress within this time.
    Stall(Duration),
}

/// The limits of one connection, shared with what answers on it.
#[derive(Debug)]
pub(super) struct ConnectionTimer {
    head_time: Duration,
    read: Mutex<ReadPhase>,
    write: Mutex<Option<WriteLimit>>,
    head_expired: AtomicBool,
    write_expired: AtomicBool,
}

impl ConnectionTimer {
    /// The head of the first request must arrive within `head_time`, and so must each later one, from its first byte on.
    pub(super) fn new(head_time: Duration) -> ConnectionTimer {
        ConnectionTimer {
            head_time,
            read: Mutex::new(ReadPhase::Head(Instant::now() + head_time)),
            write: Mutex::default(),
            head_expired: AtomicBool::default(),
            write_expired: AtomicBool::default(),
        }
    }

    /// A head has arrived. The answer has no limit yet.
    pub(super) fn begin_request(&self) {
        *lock(&self.read) = ReadPhase::Request;
        *lock(&self.write) = None;
    }

    /// The answer is made: another request may begin within `time`.
    pub(super) fn await_request(&self, time: Duration) {
        *lock(&self.read) = ReadPhase::Idle(Instant::now() + time);
    }

    /// All writes must be done within `time` from now, unless a limit is set already.
    pub(super) fn limit_answer(&self, time: Duration) {
        lock(&self.write).get_or_insert(WriteLimit::Until(Instant::now() + time));
    }

    /// Each write must make progress within `time`.
    pub(super) fn limit_stall(&self, time: Duration) {
        *lock(&self.write) = Some(WriteLimit::Stall(time));
    }

    /// Whether a head did not arrive in time.
    pub(super) fn is_head_late(&self) -> bool {
        self.head_expired.load(Ordering::Relaxed)
    }

    /// Whether a write has failed for its limit.
    pub(super) fn has_expired(&self) -> bool {
        self.write_expired.load(Ordering::Relaxed)
    }

    /// Until when the next byte must come. `arrived`: some have just come.
    fn read_limit(&self, arrived: bool) -> Option<Instant> {
        let mut phase = lock(&self.read);
        if arrived && matches!(*phase, ReadPhase::Idle(_)) {
            *phase = ReadPhase::Head(Instant::now() + self.head_time);
        }
        match *phase {
            ReadPhase::Idle(until) | ReadPhase::Head(until) => Some(until),
            ReadPhase::Request => None,
        }
    }

    fn expire_read(&self) -> io::Error {
        let is_head = matches!(*lock(&self.read), ReadPhase::Head(_));
        self.head_expired.store(is_head, Ordering::Relaxed);
        io::ErrorKind::TimedOut.into()
    }

    fn expire_write(&self) -> io::Error {
        self.write_expired.store(true, Ordering::Relaxed);
        io::ErrorKind::TimedOut.into()
    }
}

pub(super) struct TimedStream {
    stream: TcpStream,
    timer: Arc<ConnectionTimer>,
    /// Runs while nothing comes.
    reading: Option<Pin<Box<Sleep>>>,
    /// Runs while a write is stalled.
    writing: Option<Pin<Box<Sleep>>>,
}

impl TimedStream {
    pub(super) fn new(stream: TcpStream, timer: Arc<ConnectionTimer>) -> TimedStream {
        TimedStream { stream, timer, reading: None, writing: None }
    }

    /// Passes the result of a read on, or fails where its time is over.
    fn limit_read(&mut self, cx: &mut Context<'_>, read: Poll<io::Result<()>>, arrived: bool) -> Poll<io::Result<()>> {
        let Some(until) = self.timer.read_limit(arrived) else { return read };
        if read.is_ready() {
            let late = matches!(read, Poll::Ready(Ok(()))) && Instant::now() > until;
            return if late { Poll::Ready(Err(self.timer.expire_read())) } else { read };
        }
        let sleep = self.reading.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if sleep.deadline() != until {
            sleep.as_mut().reset(until);
        }
        ready!(sleep.as_mut().poll(cx));
        self.reading = None;
        Poll::Ready(Err(self.timer.expire_read()))
    }

    /// Passes the result of a write on, or fails where its time is over.
    fn limit_write<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let limit = *lock(&self.timer.write);
        if written.is_ready() {
            self.writing = None;
            return match limit {
                Some(WriteLimit::Until(until)) if Instant::now() > until => Poll::Ready(Err(self.timer.expire_write())),
                _ => written,
            };
        }
        let until = match limit {
            None => return Poll::Pending,
            Some(WriteLimit::Until(until)) => until,
            Some(WriteLimit::Stall(time)) => Instant::now() + time,
        };
        let sleep = self.writing.get_or_insert_with(|| Box::pin(sleep_until(until)));
        ready!(sleep.as_mut().poll(cx));
        Poll::Ready(Err(self.timer.expire_write()))
    }
}

impl AsyncRead for TimedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let arrived = buf.filled().len() > before;
        self.limit_read(cx, read, arrived)
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.limit_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.limit_write(cx, written)
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
