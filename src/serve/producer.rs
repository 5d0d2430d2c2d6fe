//! Bodies that a thread produces while they are sent, such as a film that is converted.
//!
//! Memory: [`QUEUE`] chunks of 64 KiB between the thread and the connection, and one in the making. The thread waits while
//! they are not taken, and learns when its client is gone: writes fail, and what it set for that moment is called.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Method};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::peer::Peer;
use super::response::busy;
use super::streams::StreamPlace;
use crate::guard::guarded;
use crate::lock::lock;

/// Bytes of a chunk.
const CHUNK: usize = 64 << 10;
/// Chunks that wait for the client.
const QUEUE: usize = 4;

/// What travels from the thread to the connection. A thread that ends without a last one has failed.
enum ProducedPart {
    Chunk(Bytes),
    End,
}

/// What is called when the client is gone.
type GoneCall = Box<dyn FnOnce() + Send>;

/// Whether the client is gone, and what is called then.
#[derive(Default)]
struct Departure {
    is_gone: bool,
    call: Option<GoneCall>,
}

/// Where a thread writes a body to. Writes fail with `BrokenPipe` when the client is gone.
pub struct BodyWriter {
    parts: Sender<ProducedPart>,
    chunk: Vec<u8>,
    departure: Arc<Mutex<Departure>>,
}

impl BodyWriter {
    /// Whether the client is gone: what is written reaches nobody.
    pub fn is_gone(&self) -> bool {
        self.parts.is_closed()
    }

    /// Calls this when the client is gone, on another thread, or immediately if it is gone already. It must return at once.
    /// It ends a program, say, that the thread waits for. It is not called once the body is complete.
    pub fn when_gone(&self, call: impl FnOnce() + Send + 'static) {
        let mut departure = lock(&self.departure);
        if departure.is_gone {
            drop(departure);
            return call();
        }
        departure.call = Some(Box::new(call));
    }

    fn send(&mut self, part: ProducedPart) -> io::Result<()> {
        self.parts.blocking_send(part).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn send_chunk(&mut self) -> io::Result<()> {
        let chunk = std::mem::take(&mut self.chunk);
        if chunk.is_empty() { Ok(()) } else { self.send(ProducedPart::Chunk(chunk.into())) }
    }

    fn end(mut self) -> io::Result<()> {
        lock(&self.departure).call = None;
        self.send_chunk()?;
        self.send(ProducedPart::End)
    }
}

impl Write for BodyWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.chunk.capacity() == 0 {
            self.chunk.reserve_exact(CHUNK);
        }
        let taken = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        if self.chunk.len() == CHUNK {
            self.send_chunk()?;
        }
        Ok(taken)
    }

    /// Sends what was written so far, though it may be little.
    fn flush(&mut self) -> io::Result<()> {
        self.send_chunk()
    }
}

/// Answers with what `produce` writes, in a thread of its own, while it is sent. If it fails, the answer breaks off, so that
/// no client takes it for complete. The client may stall as long as the server allows.
///
/// `produce` must return soon after a write has failed or [`BodyWriter::when_gone`] was called: a server that stops waits
/// for it. It is not called for `HEAD`.
pub fn serve_produced(
    peer: &Peer,
    method: &Method,
    content_type: HeaderValue,
    produce: impl FnOnce(&mut BodyWriter) -> io::Result<()> + Send + 'static,
) -> Response {
    let headers = [(CONTENT_TYPE, content_type)];
    if method == Method::HEAD {
        return headers.into_response();
    }
    let Some(place) = peer.begin_stream() else { return busy() };
    let (parts, queue) = channel(QUEUE);
    let departure = Arc::new(Mutex::new(Departure::default()));
    let mut writer = BodyWriter { parts, chunk: Vec::new(), departure: departure.clone() };
    let run = move || {
        let produced = guarded(|| produce(&mut writer));
        match produced {
            Ok(Ok(())) => drop(writer.end()),
            Ok(Err(e)) if writer.is_gone() => tracing::debug!("a client is gone: {e}"),
            Ok(Err(e)) => tracing::warn!("an answer breaks off: {e}"),
            Err(_) => tracing::error!("an answer breaks off: what produces it has panicked"),
        }
    };
    let body = ProducedBody { queue, departure, _place: place };
    if peer.spawn(run).is_err() {
        return busy();
    }
    (headers, Body::from_stream(body.chunks())).into_response()
}

/// The connection's end.
struct ProducedBody {
    queue: Receiver<ProducedPart>,
    departure: Arc<Mutex<Departure>>,
    _place: StreamPlace,
}

impl ProducedBody {
    fn chunks(self) -> impl stream::Stream<Item = io::Result<Bytes>> {
        stream::unfold(Some(self), async |body| {
            let mut body = body?;
            match body.queue.recv().await {
                Some(ProducedPart::Chunk(chunk)) => Some((Ok(chunk), Some(body))),
                Some(ProducedPart::End) => None,
                None => Some((Err(io::ErrorKind::UnexpectedEof.into()), None)),
            }
        })
    }
}

impl Drop for ProducedBody {
    fn drop(&mut self) {
        self.queue.close();
        let call = {
            let mut departure = lock(&self.departure);
            departure.is_gone = true;
            departure.call.take()
        };
        if let Some(call) = call {
            call();
        }
    }
}
