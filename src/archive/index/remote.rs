//! Looks up sources in object stores and on web servers.

use std::time::Duration;

use super::sources::{RemoteSources, is_video};
use crate::address::{Address, hide};
use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use crate::interrupt::Interrupt;
use crate::media::object_store::{Bucket, RemoteError};

/// Object stores and web servers, as sources of videos.
pub struct NetworkSources {
    timeout: Duration,
    interrupt: Interrupt,
}

impl NetworkSources {
    /// Waits at most `timeout` for each answer; the interrupt ends all waiting.
    pub fn new(timeout: Duration, interrupt: Interrupt) -> NetworkSources {
        NetworkSources { timeout, interrupt }
    }
}

impl RemoteSources for NetworkSources {
    fn list(&self, address: &str, found: &mut dyn FnMut(String, Fingerprint) -> Result<()>) -> Result<()> {
        let (bucket, path) = Bucket::open(address, self.timeout, self.interrupt.clone())?;
        if !path.ends_with('/') && is_video(&path) {
            let (_, fingerprint) = match bucket.head(&path) {
                // A missing object fails like any other video when its turn comes: reported, and recorded.
                Err(RemoteError::Absent) => return found(bucket.address(&path), Fingerprint::default()),
                other => other.map_err(|t| t.input(address))?,
            };
            return found(bucket.address(&path), fingerprint);
        }
        let mut videos = |name: &str, fingerprint| match is_video(name) {
            true => found(bucket.address(name), fingerprint),
            false => Ok(()),
        };
        bucket.list(&path, &mut videos).map_err(|t| t.input(address))?
    }

    fn fingerprint(&self, address: &Address) -> Result<Fingerprint> {
        let fail = |cause: String| Error::input(address.shown(), hide(&cause), "Check the address.");
        if self.interrupt.is_set() {
            return Err(Error::Interrupted);
        }
        let agent = ureq::Agent::config_builder().timeout_global(Some(self.timeout)).build().new_agent();
        let answer = agent.head(address.reveal()).call().map_err(|e| fail(e.to_string()))?;
        let header = |name: &str| answer.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_string);
        let etag = header("etag");
        Ok(Fingerprint {
            size: header("content-length").and_then(|l| l.parse().ok()),
            mtime_ns: None,
            modified: if etag.is_none() { header("last-modified") } else { None },
            etag,
        })
    }
}

/// What an object's fingerprint is now; none where the object does not exist any more.
pub(super) fn object_fingerprint(
    address: &str,
    timeout: Duration,
    interrupt: &Interrupt,
) -> Result<Option<Fingerprint>> {
    let (bucket, path) = Bucket::open(address, timeout, interrupt.clone())?;
    match bucket.head(&path) {
        Ok((_, fingerprint)) => Ok(Some(fingerprint)),
        Err(RemoteError::Absent) => Ok(None),
        Err(t) => Err(t.input(address)),
    }
}
