//! An event as one JSON object: what the JSON lines, the webhook and the page's own events say of it.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::event::{Event, What};
use super::wall::rfc3339;

/// What a reader wants to know; none of events that only outputs need (clock, progress).
pub fn line(event: &Event) -> Option<Value> {
    let mut object = match &event.what {
        What::Caption(c) => json!({
            "type": "caption",
            "wall": rfc3339(c.wall),
            "time": c.start.secs(),
            "picture_time": c.picture_time.secs(),
            "text": c.text,
            "score": c.score,
            "returning": c.returning,
            "lag": (c.arrived.elapsed().as_secs_f64() * 1e3).round() / 1e3,
        }),
        What::State { state, reason } => json!({
            "type": "state",
            "state": state.name(),
            "reason": reason.map(|r| r.name()),
        }),
        What::Dropped { keyframes, frames } => {
            json!({ "type": "dropped", "keyframes": keyframes, "frames": frames })
        }
        What::End => json!({ "type": "end" }),
        What::Clock(_) | What::Watched { .. } => return None,
    };
    object["stream"] = json!(&*event.stream);
    object["number"] = json!(event.number);
    object["at"] = json!(rfc3339(event.at));
    Some(object)
}

/// Says that an output has missed `events`, because it was slow or away.
pub fn lost(events: u64) -> Value {
    json!({ "type": "lost", "events": events, "at": rfc3339(SystemTime::now()) })
}
