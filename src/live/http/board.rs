//! What the page shows, and the clients that read events. Both are under one lock, so that a new client misses nothing and
//! gets nothing twice.
//!
//! Memory: the last 20 captions and one picture of each stream; 16 clients with a queue of 64 messages, which they share.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::response::sse;
use futures_util::future::AbortHandle;
use serde_json::{Value, json};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::super::event::{Event, EventKind, Reason, StreamState};
use super::super::json::event_json;
use super::super::metrics::Metrics;
use crate::serve::client_address::{ClientAddress, heaviest};
use crate::track::cue::sentence;

/// Clients that read events.
const CLIENTS: usize = 16;
/// Messages that may wait for a client.
const QUEUE: usize = 64;
/// Captions of a stream that the page shows.
const CAPTIONS: usize = 20;

/// A message of the event stream.
pub(super) type EventMessage = Arc<sse::Event>;

/// What the page shows of a stream.
struct StreamView {
    name: Arc<str>,
    state: StreamState,
    reason: Option<Reason>,
    ended: bool,
    captions: VecDeque<Value>,
    picture: Option<Arc<[u8]>>,
}

/// A client that asks for events.
pub(super) struct EventClient {
    /// Number of its connection.
    number: u64,
    address: ClientAddress,
    /// Closes its connection.
    abort: AbortHandle,
}

impl EventClient {
    pub(super) fn new(number: u64, address: ClientAddress, abort: AbortHandle) -> EventClient {
        EventClient { number, address, abort }
    }
}

/// A client that reads events.
struct EventReader {
    client: EventClient,
    queue: Sender<EventMessage>,
}

pub(super) struct Board {
    streams: Vec<StreamView>,
    /// The oldest first.
    readers: Vec<EventReader>,
    closed: bool,
}

impl Board {
    pub(super) fn new(streams: &[Arc<str>]) -> Board {
        let view = |name: &Arc<str>| StreamView {
            name: name.clone(),
            state: StreamState::Null,
            reason: None,
            ended: false,
            captions: VecDeque::new(),
            picture: None,
        };
        Board { streams: streams.iter().map(view).collect(), readers: Vec::new(), closed: false }
    }

    /// Shows an event, and sends it to the clients.
    pub(super) fn show(&mut self, event: &Event, metrics: &Metrics) {
        let Some(mut object) = event_json(event) else { return };
        let Some(index) = self.streams.iter().position(|s| s.name == event.stream) else { return };
        object["index"] = json!(index);
        let view = &mut self.streams[index];
        match &event.kind {
            EventKind::Caption(c) => {
                object["say"] = json!(sentence(&c.text));
                object["picture"] = json!(!c.jpeg.is_empty());
                if !c.jpeg.is_empty() {
                    view.picture = Some(c.jpeg.clone());
                }
                view.captions.push_back(object.clone());
                let excess = view.captions.len().saturating_sub(CAPTIONS);
                view.captions.drain(..excess);
            }
            EventKind::State { state, reason } => (view.state, view.reason) = (*state, *reason),
            EventKind::End => view.ended = true,
            _ => {}
        }
        let kind = object["type"].as_str().unwrap_or("message").to_string();
        self.broadcast(metrics, &kind, &object);
    }

    /// Sends the clients the current numbers.
    pub(super) fn send_status(&mut self, metrics: &Metrics) {
        if !self.readers.is_empty() {
            self.broadcast(metrics, "status", &metrics.status());
        }
    }

    /// Sends to all clients, and drops those whose queue is full.
    fn broadcast(&mut self, metrics: &Metrics, kind: &str, data: &Value) {
        let message = message(kind, data);
        self.readers.retain(|r| match r.queue.try_send(message.clone()) {
            Ok(()) => true,
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(_)) => {
                metrics.http.dropped.inc();
                r.client.abort.abort();
                false
            }
        });
    }

    /// Adds a client. Returns its queue and its first message, or `None` where there are too many or the server closes. Where
    /// there are too many, one address may not have them all: a reader of the address with the most gives way.
    pub(super) fn subscribe(
        &mut self,
        client: EventClient,
        metrics: &Metrics,
    ) -> Option<(Receiver<EventMessage>, EventMessage)> {
        if self.closed {
            return None;
        }
        if self.readers.len() >= CLIENTS {
            let addresses: Vec<ClientAddress> = self.readers.iter().map(|r| r.client.address).collect();
            let surplus = heaviest(&addresses, client.address).filter(|h| h.surplus > 1)?;
            let at = addresses.iter().position(|a| *a == surplus.address)?;
            metrics.http.dropped.inc();
            self.readers.remove(at).client.abort.abort();
        }
        let (queue, messages) = channel(QUEUE);
        self.readers.push(EventReader { client, queue });
        Some((messages, message("snapshot", &self.snapshot(metrics))))
    }

    /// Removes a client. False where it was dropped before.
    pub(super) fn unsubscribe(&mut self, number: u64) -> bool {
        let at = self.readers.iter().position(|r| r.client.number == number);
        at.map(|i| self.readers.remove(i)).is_some()
    }

    /// Lets the clients receive what is queued, and accepts no new ones.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.readers.clear();
    }

    /// The last picture of a stream, as JPEG.
    pub(super) fn picture(&self, stream: usize) -> Option<Arc<[u8]>> {
        self.streams.get(stream)?.picture.clone()
    }

    fn snapshot(&self, metrics: &Metrics) -> Value {
        let view = |s: &StreamView| {
            json!({
                "name": &*s.name,
                "state": s.state.name(),
                "reason": s.reason.map(Reason::name),
                "ended": s.ended,
                "captions": s.captions,
            })
        };
        let streams: Vec<Value> = self.streams.iter().map(view).collect();
        json!({ "run": metrics.run(), "streams": streams, "status": metrics.status() })
    }
}

/// A message; JSON has no line breaks, which would divide it.
fn message(kind: &str, data: &Value) -> EventMessage {
    Arc::new(sse::Event::default().event(kind).data(data.to_string()))
}
