//! Object stores: what they hold, and bytes from and to them.
//!
//! Owns a client for each bucket. Every call blocks its caller,
//! at most as long as the timeout and its retries allow; an interrupt ends it. The environment gives the store's address and
//! the credentials (`AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID`, …). None of it is ever shown.

use std::collections::HashMap;
use std::future::Future;
use std::ops::Range;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{
    ClientOptions, GetOptions, GetRange, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload,
    RetryConfig,
};
use tokio::task::JoinHandle;

use crate::address::{Address, hide};
use crate::error::{self, Error};
use crate::fingerprint::Fingerprint;
use crate::interrupt::Interrupt;
use crate::media::access::AccessPolicy;
use crate::media::remote::{POLL, RemoteError, runtime};
use crate::media::web::StoreConnector;

/// Attempts at one request that the store answers with an error of its own, or not at all.
const TRIES: usize = 4;
/// Longest time to connect. A server that is there answers within a second or two.
const CONNECT: Duration = Duration::from_secs(10);
/// Most characters of the client's own words in a message.
const LONGEST_WORDS: usize = 300;

/// What went wrong with a request.
fn explain(e: object_store::Error) -> RemoteError {
    use object_store::Error as E;
    match e {
        E::NotFound { .. } => RemoteError::Absent,
        E::Precondition { .. } => RemoteError::Changed,
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => RemoteError::Other("access is refused".into()),
        // The last cause says what happened; those around it only say which request it was.
        e => {
            let mut cause: &dyn std::error::Error = &e;
            while let Some(next) = cause.source() {
                cause = next;
            }
            if let Some(remote) = cause.downcast_ref::<RemoteError>() {
                return remote.clone();
            }
            // Before it is cut: half a secret would not be recognised.
            let mut words = hide(&cause.to_string()).replace('\n', " ");
            if let Some((at, _)) = words.char_indices().nth(LONGEST_WORDS) {
                words.truncate(at);
            }
            RemoteError::Other(words)
        }
    }
}

/// How long a request may take. Each attempt may take all of the timeout, and the answer as long again.
pub(crate) fn longest_wait(timeout: Duration) -> Duration {
    timeout.saturating_mul(TRIES as u32 + 1)
}

/// A bucket, and how long its requests may take.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    store: Arc<dyn ObjectStore>,
    name: String,
    timeout: Duration,
    interrupt: Interrupt,
}

/// An object in the version that [`Bucket::head`] found.
#[derive(Debug, Clone)]
pub(crate) struct RemoteObject {
    /// Bytes.
    pub(crate) size: u64,
    /// The store's tag of this version, if it gives one.
    etag: Option<String>,
    path: Path,
}

/// Clients by bucket, timeout and policy.
type Clients = HashMap<(String, Duration, AccessPolicy), Arc<dyn ObjectStore>>;

/// The clients of this process: all readers of a bucket share its connections.
static CLIENTS: LazyLock<Mutex<Clients>> = LazyLock::new(Mutex::default);

impl Bucket {
    /// The bucket of an address `s3://BUCKET/PATH`, and the path within it. Sends no request.
    ///
    /// # Errors
    /// If the address names no bucket or holds credentials, or the environment does not configure a store.
    pub(crate) fn open(
        address: &Address,
        timeout: Duration,
        access: &AccessPolicy,
        interrupt: Interrupt,
    ) -> error::Result<(Bucket, String)> {
        let bad = |cause: &'static str| Error::input(address.shown(), cause, "Write it as s3://BUCKET/PATH.");
        let rest = address.reveal().split_once("://").map_or("", |(_, rest)| rest);
        if address.has_login() || address.is_signed() {
            return Err(bad("credentials do not belong into an address of an object store"));
        }
        let (name, path) = rest.split_once('/').unwrap_or((rest, ""));
        if name.is_empty() {
            return Err(bad("names no bucket"));
        }
        let store = client(name, timeout, access).map_err(|e| e.input(&address.shown()))?;
        Ok((Bucket { store, name: name.to_string(), timeout, interrupt }, path.to_string()))
    }

    /// The address of a path.
    pub(crate) fn address(&self, path: &str) -> String {
        format!("s3://{}/{path}", self.name)
    }

    /// Blocks until a request is answered, the time is over or an interrupt comes.
    fn wait<T>(&self, request: impl Future<Output = object_store::Result<T>>) -> Result<T, RemoteError> {
        let limit = longest_wait(self.timeout);
        let waited = async {
            let mut request = std::pin::pin!(request);
            let mut polls = limit.as_millis() / POLL.as_millis() + 1;
            loop {
                match tokio::time::timeout(POLL, request.as_mut()).await {
                    Ok(answer) => return answer.map_err(explain),
                    Err(_) if self.interrupt.is_set() => return Err(RemoteError::Interrupted),
                    Err(_) => {}
                }
                polls -= 1;
                if polls == 0 {
                    return Err(RemoteError::Other(format!("the store gave nothing for {} s", limit.as_secs())));
                }
            }
        };
        runtime()?.block_on(waited)
    }

    /// Waits for a request that runs already.
    fn join<T>(&self, task: &mut JoinHandle<object_store::Result<T>>) -> Result<T, RemoteError> {
        self.wait(async { task.await.map_err(|e| object_store::Error::JoinError { source: e })? })
    }

    /// Finds an object.
    ///
    /// # Errors
    /// [`RemoteError::Absent`] if there is none, or when the request fails.
    pub(crate) fn head(&self, path: &str) -> Result<(RemoteObject, Fingerprint), RemoteError> {
        let path = parse(path)?;
        let meta = self.wait(self.store.head(&path))?;
        let fingerprint = fingerprint(&meta);
        Ok((RemoteObject { size: meta.size, etag: meta.e_tag, path }, fingerprint))
    }

    /// Calls `found` with the path of every object below a prefix, in the store's order, page by page. Ends with the first
    /// error that `found` returns.
    ///
    /// # Errors
    /// When a request fails. The inner result is that of `found`.
    pub(crate) fn list(
        &self,
        prefix: &str,
        found: &mut dyn FnMut(&str, Fingerprint) -> error::Result<()>,
    ) -> Result<error::Result<()>, RemoteError> {
        let prefix = parse(prefix.trim_matches('/'))?;
        let mut stream = self.store.list((!prefix.as_ref().is_empty()).then_some(&prefix));
        while let Some(meta) = self.wait(async { stream.next().await.transpose() })? {
            if let Err(e) = found(meta.location.as_ref(), fingerprint(&meta)) {
                return Ok(Err(e));
            }
        }
        Ok(Ok(()))
    }

    /// Names of the objects and folders directly below a folder, sorted.
    ///
    /// # Errors
    /// When the request fails.
    pub(crate) fn list_folder(&self, folder: &str) -> Result<Vec<String>, RemoteError> {
        let prefix = parse(folder.trim_matches('/'))?;
        let listed = self.wait(self.store.list_with_delimiter((!prefix.as_ref().is_empty()).then_some(&prefix)))?;
        let objects = listed.objects.iter().map(|o| &o.location);
        let last = |path: &Path| path.filename().map(str::to_string);
        let mut names: Vec<String> = objects.chain(&listed.common_prefixes).filter_map(last).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// All bytes of an object.
    ///
    /// # Errors
    /// [`RemoteError::Absent`] if there is none, or when the request fails.
    pub(crate) fn get(&self, path: &str) -> Result<Bytes, RemoteError> {
        let path = parse(path)?;
        self.wait(async { self.store.get(&path).await?.bytes().await })
    }

    /// Starts to fetch some bytes of an object.
    ///
    /// # Errors
    /// If there is no thread for the network.
    pub(crate) fn start_get(&self, object: &RemoteObject, range: Range<u64>) -> Result<PendingGet, RemoteError> {
        Ok(PendingGet(runtime()?.spawn(get_range(self.store.clone(), object.clone(), range))))
    }

    /// Waits for bytes that are being fetched.
    ///
    /// # Errors
    /// [`RemoteError::Changed`] if it is another version by now, or when the request fails.
    pub(crate) fn finish_get(&self, mut pending: PendingGet) -> Result<Bytes, RemoteError> {
        self.join(&mut pending.0)
    }

    /// Writes an object.
    ///
    /// # Errors
    /// When the request fails.
    pub(crate) fn put(&self, path: &str, bytes: Bytes) -> Result<(), RemoteError> {
        let path = parse(path)?;
        self.wait(self.store.put(&path, PutPayload::from(bytes))).map(drop)
    }

    /// Starts to write an object.
    ///
    /// # Errors
    /// If the path cannot be used, or there is no thread for the network.
    pub(crate) fn start_put(&self, path: &str, bytes: Bytes) -> Result<PendingPut, RemoteError> {
        let (store, path) = (self.store.clone(), parse(path)?);
        let put = async move { store.put(&path, PutPayload::from(bytes)).await.map(drop) };
        Ok(PendingPut(runtime()?.spawn(put)))
    }

    /// Waits for an object that is being written.
    ///
    /// # Errors
    /// When the request fails.
    pub(crate) fn finish_put(&self, mut pending: PendingPut) -> Result<(), RemoteError> {
        self.join(&mut pending.0)
    }

    /// Deletes an object. There may be none.
    ///
    /// # Errors
    /// When the request fails.
    pub(crate) fn delete(&self, path: &str) -> Result<(), RemoteError> {
        let path = parse(path)?;
        match self.wait(self.store.delete(&path)) {
            Err(RemoteError::Absent) => Ok(()),
            other => other,
        }
    }

    /// Starts an object that is written part by part. It appears when all parts are there.
    ///
    /// # Errors
    /// When the request fails.
    pub(crate) fn start_multipart(&self, path: &str) -> Result<MultipartPut, RemoteError> {
        let path = parse(path)?;
        Ok(MultipartPut { upload: self.wait(self.store.put_multipart(&path))?, bucket: self.clone(), complete: false })
    }
}

fn parse(path: &str) -> Result<Path, RemoteError> {
    Path::parse(path).map_err(|e| RemoteError::Other(format!("its name cannot be used: {e}")))
}

async fn get_range(
    store: Arc<dyn ObjectStore>,
    object: RemoteObject,
    range: Range<u64>,
) -> object_store::Result<Bytes> {
    let options = GetOptions { range: Some(GetRange::Bounded(range)), if_match: object.etag, ..GetOptions::default() };
    store.get_opts(&object.path, options).await?.bytes().await
}

fn fingerprint(meta: &ObjectMeta) -> Fingerprint {
    let etag = meta.e_tag.as_ref().map(|tag| tag.trim_matches('"').to_string());
    let modified = etag.is_none().then(|| meta.last_modified.to_rfc3339());
    Fingerprint { size: Some(meta.size), mtime_ns: None, etag, modified }
}

/// The client of a bucket, made on first use.
fn client(bucket: &str, timeout: Duration, access: &AccessPolicy) -> Result<Arc<dyn ObjectStore>, RemoteError> {
    runtime()?;
    let mut clients = CLIENTS.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (bucket.to_string(), timeout, access.clone());
    if let Some(store) = clients.get(&key) {
        return Ok(store.clone());
    }
    let endpoint =
        ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"].iter().find_map(|n| std::env::var(n).ok());
    let options = ClientOptions::new()
        // An endpoint without TLS is the user's own choice.
        .with_allow_http(endpoint.as_deref().is_some_and(|e| e.starts_with("http://")))
        .with_connect_timeout(timeout.min(CONNECT))
        .with_read_timeout(timeout)
        .with_timeout(timeout.saturating_mul(4));
    let retry = RetryConfig { max_retries: TRIES - 1, retry_timeout: timeout, ..RetryConfig::default() };
    let built = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_http_connector(StoreConnector(access.clone()))
        .with_client_options(options)
        .with_retry(retry)
        // Some stores answer a bulk deletion with errors of their own.
        .with_disable_bulk_delete(true)
        .build();
    let store: Arc<dyn ObjectStore> = Arc::new(built.map_err(explain)?);
    clients.insert(key, store.clone());
    Ok(store)
}

/// Bytes that are being fetched. Dropped, the request is given up.
#[derive(Debug)]
pub(crate) struct PendingGet(JoinHandle<object_store::Result<Bytes>>);

impl Drop for PendingGet {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An object that is being written. Dropped, the request runs on unobserved.
#[derive(Debug)]
pub(crate) struct PendingPut(JoinHandle<object_store::Result<()>>);

/// An object that is written part by part. Dropped before [`MultipartPut::complete`], it is given up.
pub(crate) struct MultipartPut {
    upload: Box<dyn MultipartUpload>,
    bucket: Bucket,
    complete: bool,
}

impl MultipartPut {
    /// Adds a part. All parts but the last have the same size, at least 5 MiB (a limit of S3).
    ///
    /// # Errors
    /// When the request fails.
    pub(crate) fn put_part(&mut self, bytes: Bytes) -> Result<(), RemoteError> {
        let part = self.upload.put_part(PutPayload::from(bytes));
        self.bucket.wait(part)
    }

    /// Makes the object of its parts.
    ///
    /// # Errors
    /// When the request fails.
    pub(crate) fn complete(mut self) -> Result<(), RemoteError> {
        self.complete = true;
        let MultipartPut { upload, bucket, .. } = &mut self;
        bucket.wait(upload.complete()).map(drop)
    }
}

impl Drop for MultipartPut {
    fn drop(&mut self) {
        if !self.complete {
            // Best effort: stores delete incomplete uploads by rules of their own.
            let MultipartPut { upload, bucket, .. } = self;
            let _ = bucket.wait(upload.abort());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_objects_are_read() {
        let of = |a: &str| {
            Bucket::open(&Address::new(a), Duration::from_secs(1), &AccessPolicy::default(), Interrupt::new())
                .map(|(b, path)| (b.name, path))
        };
        assert_eq!(of("s3://films/a/b c.mp4").unwrap(), ("films".into(), "a/b c.mp4".into()));
        assert_eq!(of("s3://films").unwrap(), ("films".into(), String::new()));
        assert!(of("s3:///a").unwrap_err().to_string().contains("no bucket"));
        let message = of("s3://KEYID:sesame-42@films/a").unwrap_err().to_string();
        assert!(message.contains("do not belong") && !message.contains("sesame"), "{message}");
    }
}
