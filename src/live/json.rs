//! An event as one JSON object: what JSON lines, webhooks and the page's event stream carry.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::event::{Event, EventKind};
use crate::ocr::ScreenText;
use crate::wall::rfc3339;

/// The event for readers outside descry. `None` for events that only outputs need (clock, progress, sound).
pub(super) fn event_json(event: &Event) -> Option<Value> {
    let mut object = match &event.kind {
        EventKind::Caption(c) => json!({
            "type": "caption",
            "wall": rfc3339(c.wall),
            "time": c.start.secs(),
            "picture_time": c.picture_time.secs(),
            "text": c.text,
            "score": c.score,
            "returning": c.returning,
            "lag": seconds(c.arrived.elapsed()),
        }),
        EventKind::Text(lines) => json!({ "type": "text", "screen_text": &lines[..] }),
        EventKind::State { state, reason } => json!({
            "type": "state",
            "state": state.name(),
            "reason": reason.map(|r| r.name()),
        }),
        EventKind::Dropped { keyframes, frames } => {
            json!({ "type": "dropped", "keyframes": keyframes, "frames": frames })
        }
        EventKind::End => json!({ "type": "end" }),
        EventKind::Clock(_) | EventKind::Progress { .. } | EventKind::Audio(_) => return None,
    };
    if let EventKind::Caption(c) = &event.kind
        && !c.waited.is_zero()
    {
        object["waited"] = json!(seconds(c.waited));
    }
    if let EventKind::Caption(c) = &event.kind
        && !c.screen_text.is_empty()
    {
        object["screen_text"] = c.screen_text.iter().map(on_the_screen).collect();
    }
    object["stream"] = json!(&*event.stream);
    object["number"] = json!(event.number);
    object["at"] = json!(rfc3339(event.at));
    Some(object)
}

/// A line that is still on the screen: nobody knows its end.
fn on_the_screen(line: &ScreenText) -> Value {
    let mut line = json!(line);
    line["end"] = Value::Null;
    line
}

/// Seconds with milliseconds.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e3).round() / 1e3
}

/// Whether [`event_json`] writes this kind of event.
pub(super) fn has_json(kind: &EventKind) -> bool {
    !matches!(kind, EventKind::Clock(_) | EventKind::Progress { .. } | EventKind::Audio(_))
}

/// Reports that an output missed `events` because it was slow or unavailable.
pub(super) fn lost_json(events: u64) -> Value {
    json!({ "type": "lost", "events": events, "at": rfc3339(SystemTime::now()) })
}
