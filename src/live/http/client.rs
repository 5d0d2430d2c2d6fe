//! Asks a running descry for its status.

use std::time::Duration;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;
use crate::serve::proof::{Asker, CHALLENGE, PROOF, SCHEME};

/// Largest status that is read, in bytes: 256 streams need a tenth of it.
const MOST: u64 = 4 << 20;

/// The status of the descry that serves HTTP at `address`. The token is never sent: see [`crate::serve::proof`].
///
/// # Errors
/// When nothing answers within `timeout`, what answers does not know the token, or the answer is not a status.
pub fn fetch_status(address: &str, token: Option<&str>, timeout: Duration) -> Result<Value> {
    let fail = |cause: String| {
        let remedy = message!["Give the address that the running descry has as ", Setting::Http, "."];
        Error::input(address, cause, remedy)
    };
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .max_redirects(0)
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .into();
    let ask = |header: Option<(&str, String)>| {
        let request = agent.get(format!("http://{address}/status"));
        let request = match header {
            Some((name, value)) => request.header(name, value),
            None => request,
        };
        request.call().map_err(|e| fail(format!("no descry answers there: {e}")).with_source(e))
    };
    let mut answer = match token {
        Some(token) => {
            let asker = Asker::new().map_err(|_| fail("the system has no random numbers".into()))?;
            let first = ask(Some((CHALLENGE, asker.challenge())))?;
            let proof = first.headers().get(PROOF).and_then(|p| p.to_str().ok());
            let Some(answer) = proof.and_then(|proof| asker.answer(proof, token)) else {
                return Err(match first.status().as_u16() {
                    429 => fail("too many wrong tokens came from here; it answers again within a minute".into()),
                    _ => fail("does not know this token: it is another program, or a descry with another token".into()),
                });
            };
            ask(Some(("Authorization", format!("{SCHEME}{answer}"))))?
        }
        None => ask(None)?,
    };
    match answer.status().as_u16() {
        200 => {}
        401 => return Err(fail("asks for a token".into())),
        429 => return Err(fail("too many wrong tokens came from here; it answers again within a minute".into())),
        status => return Err(fail(format!("answers {status}"))),
    }
    let body = answer.body_mut().with_config().limit(MOST).read_to_vec().map_err(|e| fail(e.to_string()))?;
    serde_json::from_slice(&body).map_err(|_| fail("answers, but is not descry".into()))
}
