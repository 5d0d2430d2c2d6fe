//! Object stores and web servers: what is there, and bytes from and to them.
//!
//! Owns the one runtime of the process that waits for the network, and a client a bucket. Every call blocks its caller and
//! no longer than its patience allows; an interrupt ends it. Where a store is and who may read it is said by the
//! environment (`AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID`, …); none of it is ever shown.

use std::collections::HashMap;
use std::future::Future;
use std::ops::Range;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{
    ClientOptions, GetOptions, GetRange, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload,
    RetryConfig,
};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::address::{hide, keep_secret};
use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use crate::interrupt::Interrupt;

/// Tries of one request that the store answers with an error of its own, or not at all.
const TRIES: usize = 4;
/// How often a call that waits looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(100);
const REMEDY: &str = "Check the address, AWS_ENDPOINT_URL, AWS_REGION and the credentials in the environment.";

/// Where requests run. One thread is enough: it only waits and copies.
fn runtime() -> std::result::Result<&'static Runtime, String> {
    static RUNTIME: OnceLock<std::result::Result<Runtime, String>> = OnceLock::new();
    let made = RUNTIME.get_or_init(|| {
        // Another provider that is there already will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        for name in ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID"] {
            if let Ok(secret) = std::env::var(name) {
                keep_secret(&secret);
            }
        }
        let built = Builder::new_multi_thread().worker_threads(1).max_blocking_threads(4).enable_all().build();
        built.map_err(|e| format!("no thread for the network: {e}"))
    });
    made.as_ref().map_err(Clone::clone)
}

/// Why something remote cannot be had. The words show no credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    Interrupted,
    Absent,
    /// It is not what it was when it was opened.
    Changed,
    Other(String),
}

impl Trouble {
    fn of(e: object_store::Error) -> Trouble {
        use object_store::Error as E;
        match e {
            E::NotFound { .. } => Trouble::Absent,
            E::Precondition { .. } => Trouble::Changed,
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => Trouble::Other("access is refused".into()),
            // The last cause says what happened; those around it say who asked.
            e => {
                let mut cause: &dyn std::error::Error = &e;
                while let Some(next) = cause.source() {
                    cause = next;
                }
                let mut words = cause.to_string().replace('\n', " ");
                if let Some((at, _)) = words.char_indices().nth(300) {
                    words.truncate(at);
                }
                Trouble::Other(hide(&words))
            }
        }
    }

    pub fn words(&self) -> String {
        match self {
            Trouble::Interrupted => "interrupted".into(),
            Trouble::Absent => "no such object".into(),
            Trouble::Changed => "it has changed since it was opened".into(),
            Trouble::Other(words) => words.clone(),
        }
    }

    /// As an error about something that is read.
    pub fn input(self, address: &str) -> Error {
        match self {
            Trouble::Interrupted => Error::Interrupted,
            other => Error::input(hide(address), other.words(), REMEDY),
        }
    }

    /// As an error about something that is written.
    pub fn output(self, address: &str) -> Error {
        match self {
            Trouble::Interrupted => Error::Interrupted,
            other => {
                let cause = format!("cannot be written: {}", other.words());
                Error::output(hide(address), cause, format!("{REMEDY} What is done stays done."))
            }
        }
    }
}

/// A bucket, and how long it may keep us waiting.
#[derive(Debug, Clone)]
pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    name: String,
    patience: Duration,
    interrupt: Interrupt,
}

/// An object as it was when it was asked for.
#[derive(Debug, Clone)]
pub struct Object {
    pub size: u64,
    pub etag: Option<String>,
    path: Path,
}

/// By bucket and patience.
type Clients = HashMap<(String, Duration), Arc<dyn ObjectStore>>;

/// Clients that were made: connections are shared by all who read a bucket.
static BUCKETS: LazyLock<Mutex<Clients>> = LazyLock::new(Mutex::default);

impl Bucket {
    /// The bucket of an address, and the path within it.
    pub fn of(address: &str, patience: Duration, interrupt: Interrupt) -> Result<(Bucket, String)> {
        let bad = |cause: &str| Error::input(hide(address), cause, "Write it as s3://BUCKET/PATH.");
        let rest = address.split_once("://").map_or("", |(_, rest)| rest);
        if rest.contains('@') && rest.find('@') < rest.find('/') {
            return Err(bad("credentials do not belong into an address of an object store"));
        }
        let (name, path) = rest.split_once('/').unwrap_or((rest, ""));
        if name.is_empty() {
            return Err(bad("names no bucket"));
        }
        let store = connect(name, patience).map_err(|cause| Error::input(hide(address), cause, REMEDY))?;
        Ok((Bucket { store, name: name.to_string(), patience, interrupt }, path.to_string()))
    }

    /// The address of a path.
    pub fn address(&self, path: &str) -> String {
        format!("s3://{}/{path}", self.name)
    }

    /// Blocks until a request is answered, the patience ends or an interrupt comes.
    fn wait<T>(&self, request: impl Future<Output = object_store::Result<T>>) -> std::result::Result<T, Trouble> {
        let runtime = runtime().map_err(Trouble::Other)?;
        // Several tries, each of which may take all of the patience.
        let most = self.patience.saturating_mul(TRIES as u32 + 1);
        let waited = async {
            let mut request = std::pin::pin!(request);
            let mut looks = most.as_millis() / LOOK.as_millis() + 1;
            loop {
                match tokio::time::timeout(LOOK, request.as_mut()).await {
                    Ok(answer) => return answer.map_err(Trouble::of),
                    Err(_) if self.interrupt.is_set() => return Err(Trouble::Interrupted),
                    Err(_) => {}
                }
                looks -= 1;
                if looks == 0 {
                    return Err(Trouble::Other(format!("the store gave nothing for {} s", most.as_secs())));
                }
            }
        };
        runtime.block_on(waited)
    }

    fn path(&self, path: &str) -> std::result::Result<Path, Trouble> {
        Path::parse(path).map_err(|e| Trouble::Other(format!("its name cannot be used: {e}")))
    }

    pub fn head(&self, path: &str) -> std::result::Result<(Object, Fingerprint), Trouble> {
        let path = self.path(path)?;
        let meta = self.wait(self.store.head(&path))?;
        let fingerprint = fingerprint(&meta);
        Ok((Object { size: meta.size, etag: meta.e_tag, path }, fingerprint))
    }

    /// All objects below a prefix, in the store's order.
    pub fn list(
        &self,
        prefix: &str,
        found: &mut dyn FnMut(&str, Fingerprint) -> Result<()>,
    ) -> std::result::Result<Result<()>, Trouble> {
        let prefix = self.path(prefix.trim_matches('/'))?;
        let mut stream = self.store.list((!prefix.as_ref().is_empty()).then_some(&prefix));
        // Page by page: what comes is handed on at once.
        while let Some(meta) = self.wait(async { stream.next().await.transpose() })? {
            if let Err(e) = found(meta.location.as_ref(), fingerprint(&meta)) {
                return Ok(Err(e));
            }
        }
        Ok(Ok(()))
    }

    /// Names directly below a folder, objects and folders, sorted.
    pub fn names(&self, folder: &str) -> std::result::Result<Vec<String>, Trouble> {
        let prefix = self.path(folder.trim_matches('/'))?;
        let listed = self.wait(self.store.list_with_delimiter((!prefix.as_ref().is_empty()).then_some(&prefix)))?;
        let objects = listed.objects.iter().map(|o| &o.location);
        let last = |path: &Path| path.filename().map(str::to_string);
        let mut names: Vec<String> = objects.chain(&listed.common_prefixes).filter_map(last).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// All bytes of an object.
    pub fn get(&self, path: &str) -> std::result::Result<Bytes, Trouble> {
        let path = self.path(path)?;
        self.wait(async { self.store.get(&path).await?.bytes().await })
    }

    /// Some bytes of an object, as it was when it was asked for.
    pub fn range(&self, object: &Object, range: Range<u64>) -> std::result::Result<Bytes, Trouble> {
        self.wait(part(self.store.clone(), object.clone(), range))
    }

    /// Begins to fetch some bytes.
    pub fn begin(&self, object: &Object, range: Range<u64>) -> std::result::Result<Fetch, Trouble> {
        Ok(Fetch(runtime().map_err(Trouble::Other)?.spawn(part(self.store.clone(), object.clone(), range))))
    }

    /// Waits for bytes that are being fetched.
    pub fn join(&self, fetch: &mut Fetch) -> std::result::Result<Bytes, Trouble> {
        self.wait(async { (&mut fetch.0).await.map_err(|e| object_store::Error::JoinError { source: e })? })
    }

    pub fn put(&self, path: &str, bytes: Bytes) -> std::result::Result<(), Trouble> {
        let path = self.path(path)?;
        self.wait(self.store.put(&path, PutPayload::from(bytes))).map(drop)
    }

    /// Begins to put an object.
    pub fn put_soon(&self, path: &str, bytes: Bytes) -> std::result::Result<Put, Trouble> {
        let (store, path) = (self.store.clone(), self.path(path)?);
        let put = async move { store.put(&path, PutPayload::from(bytes)).await.map(drop) };
        Ok(Put(runtime().map_err(Trouble::Other)?.spawn(put)))
    }

    /// Waits for an object that is being put.
    pub fn settle(&self, put: &mut Put) -> std::result::Result<(), Trouble> {
        self.wait(async { (&mut put.0).await.map_err(|e| object_store::Error::JoinError { source: e })? })
    }

    /// Takes an object away; that there is none is no error.
    pub fn delete(&self, path: &str) -> std::result::Result<(), Trouble> {
        let path = self.path(path)?;
        match self.wait(self.store.delete(&path)) {
            Err(Trouble::Absent) => Ok(()),
            other => other,
        }
    }

    /// Begins an object that comes in parts. It is there when all are.
    pub fn upload(&self, path: &str) -> std::result::Result<Parts, Trouble> {
        let path = self.path(path)?;
        Ok(Parts { upload: self.wait(self.store.put_multipart(&path))?, bucket: self.clone(), done: false })
    }
}

async fn part(store: Arc<dyn ObjectStore>, object: Object, range: Range<u64>) -> object_store::Result<Bytes> {
    let options = GetOptions { range: Some(GetRange::Bounded(range)), if_match: object.etag, ..GetOptions::default() };
    store.get_opts(&object.path, options).await?.bytes().await
}

fn fingerprint(meta: &ObjectMeta) -> Fingerprint {
    let etag = meta.e_tag.as_ref().map(|tag| tag.trim_matches('"').to_string());
    let modified = etag.is_none().then(|| meta.last_modified.to_rfc3339());
    Fingerprint { size: Some(meta.size), mtime_ns: None, etag, modified }
}

fn connect(bucket: &str, patience: Duration) -> std::result::Result<Arc<dyn ObjectStore>, String> {
    runtime()?;
    let mut buckets = BUCKETS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(store) = buckets.get(&(bucket.to_string(), patience)) {
        return Ok(store.clone());
    }
    let endpoint =
        ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"].iter().find_map(|n| std::env::var(n).ok());
    let client = ClientOptions::new()
        // Who names a server without TLS means it.
        .with_allow_http(endpoint.as_deref().is_some_and(|e| e.starts_with("http://")))
        .with_connect_timeout(patience.min(Duration::from_secs(10)))
        .with_read_timeout(patience)
        .with_timeout(patience.saturating_mul(4));
    let retry = RetryConfig { max_retries: TRIES - 1, retry_timeout: patience, ..RetryConfig::default() };
    let built = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_client_options(client)
        .with_retry(retry)
        // Some stores answer a deletion of many with errors of their own.
        .with_disable_bulk_delete(true)
        .build();
    let store: Arc<dyn ObjectStore> = Arc::new(built.map_err(|e| Trouble::of(e).words())?);
    buckets.insert((bucket.to_string(), patience), store.clone());
    Ok(store)
}

/// Bytes that are being fetched; dropped, they are not wanted any more.
#[derive(Debug)]
pub struct Fetch(JoinHandle<object_store::Result<Bytes>>);

impl Drop for Fetch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An object that is being put.
#[derive(Debug)]
pub struct Put(JoinHandle<object_store::Result<()>>);

/// An object that comes in parts. Dropped before the last, it is given up.
pub struct Parts {
    upload: Box<dyn MultipartUpload>,
    bucket: Bucket,
    done: bool,
}

impl Parts {
    /// Every part but the last has the same size, of 5 MB at least.
    pub fn put(&mut self, bytes: Bytes) -> std::result::Result<(), Trouble> {
        let part = self.upload.put_part(PutPayload::from(bytes));
        self.bucket.wait(part)
    }

    pub fn finish(mut self) -> std::result::Result<(), Trouble> {
        self.done = true;
        let Parts { upload, bucket, .. } = &mut self;
        bucket.wait(upload.complete()).map(drop)
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        if !self.done {
            // As good as it goes: stores forget what was never finished by rules of their own.
            let Parts { upload, bucket, .. } = self;
            let _ = bucket.wait(upload.abort());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_objects_are_read() {
        let of = |a: &str| Bucket::of(a, Duration::from_secs(1), Interrupt::new()).map(|(b, path)| (b.name, path));
        assert_eq!(of("s3://films/a/b c.mp4").unwrap(), ("films".into(), "a/b c.mp4".into()));
        assert_eq!(of("s3://films").unwrap(), ("films".into(), String::new()));
        assert!(of("s3:///a").unwrap_err().to_string().contains("no bucket"));
        let told = of("s3://KEYID:sesame-42@films/a").unwrap_err().to_string();
        assert!(told.contains("do not belong") && !told.contains("sesame"), "{told}");
    }
}
