//! What an answer means: a text, a refusal, or a fault. Pure.

use std::time::Duration;

use serde_json::Value;

use crate::address::hide;
use crate::error::Error;
use crate::message;
use crate::message::{Message, Setting};

/// Most characters of a server's own message that are shown.
const DETAIL: usize = 200;
/// Codes of errors that refuse a picture for what it shows.
const REFUSALS: [&str; 4] =
    ["content_filter", "content_policy_violation", "moderation_blocked", "responsible_ai_policy_violation"];

/// Why a request has no caption.
#[derive(Debug)]
pub(crate) struct ServerFault {
    pub(crate) cause: String,
    pub(super) remedy: Message,
    /// Whether another attempt may succeed.
    pub(super) temporary: bool,
    /// The pause that the server asks for.
    pub(super) pause: Option<Duration>,
    pub(super) source: Option<Box<ureq::Error>>,
}

impl ServerFault {
    /// A fault that another attempt does not change.
    pub(super) fn permanent(cause: impl Into<String>, remedy: impl Into<Message>) -> ServerFault {
        ServerFault { cause: cause.into(), remedy: remedy.into(), temporary: false, pause: None, source: None }
    }

    /// A fault that may be gone at the next attempt.
    pub(super) fn temporary(cause: impl Into<String>, remedy: impl Into<Message>) -> ServerFault {
        ServerFault { temporary: true, ..ServerFault::permanent(cause, remedy) }
    }

    /// The error, after so many attempts.
    pub(super) fn into_error(self, server: &str, tries: u32) -> Error {
        let again = if tries > 1 { format!(", {tries} times in a row") } else { String::new() };
        let error = Error::server(server, format!("{}{again}", self.cause), self.remedy);
        let error = if self.temporary { error.for_now() } else { error };
        match self.source {
            Some(source) => error.with_source(*source),
            None => error,
        }
    }
}

/// The text of an answer; empty if the model refuses.
///
/// `status`: code and words. `pause`: what the server asks for.
pub(crate) fn text_of((code, words): (u16, &str), pause: Option<Duration>, body: &[u8]) -> Result<String, ServerFault> {
    let value: Option<Value> = serde_json::from_slice(body).ok();
    if (200..300).contains(&code) {
        return match value {
            Some(value) => content(&value),
            None => Err(not_openai("does not answer with JSON")),
        };
    }
    let detail = value.as_ref().and_then(detail).map(|text| format!(": {text}")).unwrap_or_default();
    let cause = format!("answers {words}{detail}");
    Err(match code {
        _ if value.as_ref().is_some_and(is_refusal) => return Ok(String::new()),
        429 => ServerFault {
            pause,
            ..ServerFault::temporary(cause, message!["Ask less at a time with ", Setting::ServerJobs, ", or wait."])
        },
        408 | 500.. => ServerFault {
            pause,
            ..ServerFault::temporary(cause, "See the server's own log. Its model must be able to read pictures.")
        },
        401 | 403 => {
            ServerFault::permanent(cause, "Set the environment variable DESCRY_API_KEY to a key of this server.")
        }
        404 => ServerFault::permanent(
            cause,
            message![
                "Check that the server has the model of ",
                Setting::ModelName,
                ", and that the address in ",
                Setting::Model,
                " is that of its API, which usually ends in /v1."
            ],
        ),
        413 => ServerFault::permanent(cause, message!["Send smaller pictures with ", Setting::PictureSize, "."]),
        300..=399 => ServerFault::permanent(
            cause,
            message![
                "descry follows no redirects. Give ",
                Setting::Model,
                " the address that the server redirects to."
            ],
        ),
        _ => ServerFault::permanent(
            cause,
            message!["Choose a model that reads pictures with ", Setting::ModelName, ", or see the server's own log."],
        ),
    })
}

fn not_openai(cause: &str) -> ServerFault {
    ServerFault::permanent(
        cause,
        message![
            "Give ",
            Setting::Model,
            " the address of an API like OpenAI's, which usually ends in /v1: openai:http://localhost:11434/v1."
        ],
    )
}

/// The text of the first choice.
fn content(value: &Value) -> Result<String, ServerFault> {
    if let Some(detail) = detail(value).filter(|_| value.get("choices").is_none()) {
        return Err(not_openai(&format!("answers with an error: {detail}")));
    }
    let Some(choices) = value["choices"].as_array() else {
        return Err(not_openai("answers with JSON that is no chat completion"));
    };
    let Some(choice) = choices.first() else {
        return Err(not_openai("answers without a choice"));
    };
    if choice["finish_reason"] == "content_filter" {
        return Ok(String::new());
    }
    match &choice["message"]["content"] {
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => Ok(parts.iter().filter_map(|part| part["text"].as_str()).collect()),
        // A model that refuses, or that spent all its tokens on thoughts.
        Value::Null if choice["message"].is_object() => Ok(String::new()),
        _ => Err(not_openai("answers with a choice without a message")),
    }
}

/// The server's own words about an error, shortened and without credentials.
fn detail(value: &Value) -> Option<String> {
    let error = &value["error"];
    let texts = [&error["message"], error, &value["message"], &value["detail"], &value["detail"][0]["msg"]];
    let text = hide(texts.iter().find_map(|text| text.as_str())?);
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    let text = words.join(" ");
    let short: String = text.chars().take(DETAIL).collect();
    let text = if short.len() < text.len() { format!("{short}…") } else { short };
    (!text.is_empty()).then_some(text)
}

fn is_refusal(value: &Value) -> bool {
    let error = &value["error"];
    [&error["code"], &error["type"], &error["innererror"]["code"]]
        .iter()
        .filter_map(|code| code.as_str())
        .any(|code| REFUSALS.iter().any(|known| code.eq_ignore_ascii_case(known)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ok(body: Value) -> Result<String, String> {
        text_of((200, "200 OK"), None, body.to_string().as_bytes()).map_err(|fault| {
            assert!(!fault.temporary);
            fault.cause
        })
    }

    fn message(message: Value) -> Value {
        json!({ "choices": [{ "index": 0, "message": message }] })
    }

    #[test]
    fn texts_are_read_in_every_form() {
        assert_eq!(ok(message(json!({ "content": "a dog" }))).unwrap(), "a dog");
        let parts = json!([{ "type": "text", "text": "a " }, { "type": "text", "text": "dog" }]);
        assert_eq!(ok(message(json!({ "content": parts }))).unwrap(), "a dog");
        assert_eq!(ok(message(json!({ "content": null, "refusal": "No." }))).unwrap(), "");
        assert_eq!(ok(message(json!({ "reasoning": "hm" }))).unwrap(), "");
        let filtered = json!({ "choices": [{ "finish_reason": "content_filter", "message": { "content": "x" } }] });
        assert_eq!(ok(filtered).unwrap(), "");
    }

    #[test]
    fn answers_of_other_servers_are_permanent_faults() {
        for (body, cause) in [
            (json!({ "choices": [] }), "answers without a choice"),
            (json!({}), "answers with JSON that is no chat completion"),
            (json!([1, 2]), "answers with JSON that is no chat completion"),
            (json!("choices"), "answers with JSON that is no chat completion"),
            (json!({ "choices": [{}] }), "answers with a choice without a message"),
            (json!({ "choices": [7] }), "answers with a choice without a message"),
            (message(json!({ "content": 7 })), "answers with a choice without a message"),
            (json!({ "error": "no such endpoint" }), "answers with an error: no such endpoint"),
        ] {
            assert_eq!(ok(body).unwrap_err(), cause);
        }
        for body in ["<html>", "", "{\"choices\": [{\"mess"] {
            let fault = text_of((200, "200 OK"), None, body.as_bytes()).unwrap_err();
            assert_eq!((fault.cause.as_str(), fault.temporary), ("does not answer with JSON", false));
        }
    }

    #[test]
    fn statuses_are_temporary_or_permanent_and_name_the_cause() {
        let fault = |code: u16, body: &str| text_of((code, "CODE"), Some(Duration::ZERO), body.as_bytes()).unwrap_err();
        for code in [408, 429, 500, 502, 503, 504] {
            assert!(fault(code, "").temporary, "{code}");
        }
        for code in [301, 307, 400, 401, 403, 404, 405, 413, 422] {
            assert!(!fault(code, "").temporary, "{code}");
        }
        assert_eq!(
            fault(404, r#"{"error":{"message":"model \"x\" not found"}}"#).cause,
            "answers CODE: model \"x\" not found"
        );
        assert_eq!(fault(422, r#"{"detail":[{"msg":"field required"}]}"#).cause, "answers CODE: field required");
        assert_eq!(fault(500, "<html>secret page</html>").cause, "answers CODE");
        assert_eq!(fault(500, r#"{"message":"a\n\u0007b"}"#).cause, "answers CODE: a b");
        let long = fault(500, &json!({ "error": "é".repeat(1000) }).to_string()).cause;
        assert!(long.chars().count() < 250 && long.ends_with('…'), "{long}");
        for (code, name) in
            [(401, "DESCRY_API_KEY"), (404, "`model_name`"), (413, "`picture_side`"), (429, "`server_jobs`")]
        {
            assert!(fault(code, "").remedy.to_string().contains(name), "{code}");
        }
        assert!(fault(429, "").pause.is_some() && fault(404, "").pause.is_none());
    }

    #[test]
    fn a_picture_that_is_refused_for_what_it_shows_is_no_fault() {
        for error in [json!({ "code": "content_filter" }), json!({ "type": "content_policy_violation" })] {
            let body = json!({ "error": error }).to_string();
            assert_eq!(text_of((400, "400 Bad Request"), None, body.as_bytes()).unwrap(), "");
        }
    }

    #[test]
    fn errors_name_the_server_and_the_attempts() {
        let e = ServerFault::temporary("nothing answers", "Start it.").into_error("http://h/v1", 4);
        assert_eq!(e.to_string(), "http://h/v1: nothing answers, 4 times in a row\n  Start it.");
        assert!(e.is_temporary());
        let e = ServerFault::permanent("answers 404", "Check it.").into_error("http://h/v1", 1);
        assert_eq!(e.to_string(), "http://h/v1: answers 404\n  Check it.");
        assert!(!e.is_temporary());
    }
}
