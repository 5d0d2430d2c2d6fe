//! Looks up sources in object stores and on web servers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::sources::{RemoteSources, is_video};
use crate::address::Address;
use crate::error::Result;
use crate::fingerprint::Fingerprint;
use crate::interrupt::Interrupt;
use crate::media::object_store::Bucket;
use crate::media::remote::RemoteError;
use crate::media::web::WebClient;
use crate::media::{AccessPolicy, DecodeOptions};

/// Object stores and web servers, as sources of videos.
pub struct NetworkSources {
    timeout: Duration,
    access: AccessPolicy,
    interrupt: Interrupt,
}

impl NetworkSources {
    /// Waits as long for each answer, and reaches what the videos may reach; the interrupt ends all waiting.
    pub fn new(options: &DecodeOptions, interrupt: Interrupt) -> NetworkSources {
        NetworkSources { timeout: options.timeout, access: options.access.clone(), interrupt }
    }
}

impl RemoteSources for NetworkSources {
    fn list(&self, address: &Address, found: &mut dyn FnMut(String, Fingerprint) -> Result<()>) -> Result<()> {
        let (bucket, path) = Bucket::open(address, self.timeout, &self.access, self.interrupt.clone())?;
        if !path.ends_with('/') && is_video(&path) {
            let (_, fingerprint) = match bucket.head(&path) {
                // A missing object fails like any other video when its turn comes: reported, and recorded.
                Err(RemoteError::Absent) => return found(bucket.address(&path), Fingerprint::default()),
                other => other.map_err(|t| t.input(&address.shown()))?,
            };
            return found(bucket.address(&path), fingerprint);
        }
        let mut videos = |name: &str, fingerprint| match is_video(name) {
            true => found(bucket.address(name), fingerprint),
            false => Ok(()),
        };
        bucket.list(&path, &mut videos).map_err(|t| t.input(&address.shown()))?
    }

    fn fingerprint(&self, address: &Address) -> Result<Fingerprint> {
        let (interrupt, started, timeout) = (self.interrupt.clone(), Instant::now(), self.timeout);
        let stop = Arc::new(move || match interrupt.is_set() {
            true => Err(RemoteError::Interrupted),
            false if started.elapsed() >= timeout => {
                Err(RemoteError::Late(format!("the server gave nothing for {} s", timeout.as_secs_f64())))
            }
            false => Ok(()),
        });
        let head = WebClient::new(address.reveal(), &self.access, stop).and_then(|client| client.head());
        let headers = head.map_err(|e| e.web_input(&address.shown()))?;
        let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_string);
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
    address: &Address,
    options: &DecodeOptions,
    interrupt: &Interrupt,
) -> Result<Option<Fingerprint>> {
    let (bucket, path) = Bucket::open(address, options.timeout, &options.access, interrupt.clone())?;
    match bucket.head(&path) {
        Ok((_, fingerprint)) => Ok(Some(fingerprint)),
        Err(RemoteError::Absent) => Ok(None),
        Err(t) => Err(t.input(&address.shown())),
    }
}
