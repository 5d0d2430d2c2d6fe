//! Asks a running descry for its status.

use std::time::Duration;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;

/// Largest status that is read, in bytes: 256 streams need a tenth of it.
const MOST: u64 = 4 << 20;

/// The status of the descry that serves HTTP at `address`.
///
/// # Errors
/// When nothing answers within `timeout`, the token is wrong, or the answer is not a status.
pub fn fetch_status(address: &str, token: Option<&str>, timeout: Duration) -> Result<Value> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .max_redirects(0)
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .into();
    let fail = |cause: String| {
        let remedy = message!["Give the address that the running descry has as ", Setting::Http, "."];
        Error::input(address, cause, remedy)
    };
    let request = agent.get(format!("http://{address}/status"));
    let request = match token {
        Some(token) => request.header("Authorization", format!("Bearer {token}")),
        None => request,
    };
    let mut answer = request.call().map_err(|e| fail(format!("no descry answers there: {e}")).with_source(e))?;
    match answer.status().as_u16() {
        200 => {}
        401 => return Err(fail("asks for another token".into())),
        status => return Err(fail(format!("answers {status}"))),
    }
    let body = answer.body_mut().with_config().limit(MOST).read_to_vec().map_err(|e| fail(e.to_string()))?;
    serde_json::from_slice(&body).map_err(|_| fail("answers, but is not descry".into()))
}
