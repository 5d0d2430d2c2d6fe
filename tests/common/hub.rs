//! A server that speaks the hub's protocol, and another one that it leads to for large files, as the hub does. Both misbehave
//! on request.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use serde_json::{Value, json};

use super::web::{header, path};
use super::{Bench, root};

/// The commit of every repository.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// A signature in an address to which the hub leads.
pub(crate) const SIGNATURE: &str = "s1gnature-of-the-other-server";

/// A request, as it came.
#[derive(Debug, Clone)]
pub(crate) struct HubAsked {
    /// Whether it came to the other server.
    pub(crate) outside: bool,
    /// The request line and the headers.
    pub(crate) head: String,
}

impl HubAsked {
    pub(crate) fn path(&self) -> &str {
        path(&self.head)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// Whether it asks for the bytes of a file whose name ends like this.
    pub(crate) fn is_for(&self, file: &str) -> bool {
        self.path().ends_with(file)
    }

    fn from(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// What a server does with a request.
pub(crate) enum HubReply {
    /// As the protocol says.
    Good,
    /// Status line after the version, further headers, body.
    Http(&'static str, String, Vec<u8>),
    /// So many bytes of what was asked for, and the end of the connection.
    Cut(usize),
    /// So many bytes of what was asked for, and then nothing for a long time.
    Hang(usize),
    /// The whole file, whatever range was asked for.
    Whole,
    /// A file with another byte in the middle.
    Wrong,
    /// In pieces of so many bytes, with pauses of 2 ms.
    Slow(usize),
}

type Behaviour = dyn Fn(usize, &HubAsked) -> HubReply + Send + Sync;

/// The two servers.
pub(crate) struct Hub {
    pub(crate) port: u16,
    asked: Arc<Mutex<Vec<HubAsked>>>,
}

struct Served {
    files: BTreeMap<String, Vec<u8>>,
    listing: Vec<u8>,
    outside: u16,
    behaviour: Box<Behaviour>,
    asked: Arc<Mutex<Vec<HubAsked>>>,
}

impl Hub {
    /// Serves files as those of every repository.
    pub(crate) fn new(files: BTreeMap<String, Vec<u8>>) -> Hub {
        Hub::with(files, |_, _| HubReply::Good)
    }

    /// The same, but for what `behaviour` does otherwise. It gets the number of the request, from 0.
    pub(crate) fn with(
        files: BTreeMap<String, Vec<u8>>,
        behaviour: impl Fn(usize, &HubAsked) -> HubReply + Send + Sync + 'static,
    ) -> Hub {
        let listing = listing(&files);
        Hub::listing(files, &listing, behaviour)
    }

    /// The same, with another listing.
    pub(crate) fn listing(
        files: BTreeMap<String, Vec<u8>>,
        listing: &Value,
        behaviour: impl Fn(usize, &HubAsked) -> HubReply + Send + Sync + 'static,
    ) -> Hub {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let [port, outside] = [0, 1].map(|n: usize| listeners[n].local_addr().expect("a port").port());
        let asked = Arc::<Mutex<Vec<HubAsked>>>::default();
        let listing = listing.to_string().into_bytes();
        let served = Arc::new(Served { files, listing, outside, behaviour: Box::new(behaviour), asked: asked.clone() });
        for (n, listener) in listeners.into_iter().enumerate() {
            let served = served.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let served = served.clone();
                    std::thread::spawn(move || drop(served.serve(stream, n == 1)));
                }
            });
        }
        Hub { port, asked }
    }

    pub(crate) fn asked(&self) -> Vec<HubAsked> {
        self.asked.lock().expect("no panic").clone()
    }

    /// The requests since the last call.
    pub(crate) fn take_asked(&self) -> Vec<HubAsked> {
        std::mem::take(&mut *self.asked.lock().expect("no panic"))
    }

    /// descry, with this hub and folders of its own.
    pub(crate) fn command(&self, b: &Bench, args: &[&str]) -> Command {
        let mut command = command(b, args);
        command.env("HF_ENDPOINT", format!("http://127.0.0.1:{}", self.port));
        command
    }

    /// Runs descry with this hub, and checks the exit code. Returns standard output and standard error.
    pub(crate) fn run(&self, b: &Bench, args: &[&str], code: i32) -> (String, String) {
        run(&mut self.command(b, args), code)
    }
}

/// descry, with folders of its own and no hub.
pub(crate) fn command(b: &Bench, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_descry"));
    command.args(args).current_dir(b.path("."));
    for variable in [
        "HF_TOKEN",
        "HF_HUB_OFFLINE",
        "HF_HUB_CACHE",
        "DESCRY_MODEL",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
    ] {
        command.env_remove(variable);
    }
    // Nobody listens there.
    command.env("HF_ENDPOINT", "http://127.0.0.1:9").env("HF_HOME", b.path("hf")).env("DESCRY_MODELS", b.path("store"));
    command
}

/// Runs a command, and checks the exit code. Returns standard output and standard error.
pub(crate) fn run(command: &mut Command, code: i32) -> (String, String) {
    let out = command.output().expect("the binary starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&out.stdout), text(&out.stderr));
    assert_eq!(out.status.code(), Some(code), "{command:?}\n{stdout}\n{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    (stdout, stderr)
}

/// The files of a model's folder. Graphs of the variant `from` get the names of the variant `to`.
pub(crate) fn files_of(folder: &str, (from, to): (&str, &str)) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for sub in ["", "onnx/"] {
        for entry in std::fs::read_dir(root().join(folder).join(sub)).expect("a model").flatten() {
            let name = format!("{sub}{}", entry.file_name().to_string_lossy());
            if entry.path().is_file() {
                files.insert(name.replace(from, to), std::fs::read(entry.path()).expect("a file"));
            }
        }
    }
    assert!(files.keys().any(|name| name.contains(to)), "{:?}", files.keys());
    files
}

/// Whether the hub stores a file as a large one.
fn is_large(name: &str) -> bool {
    name.starts_with("onnx/") || name == "tokenizer.json" || name.ends_with(".safetensors") || name.ends_with(".bin")
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

/// Git's hash of a file.
pub(crate) fn git_hash(bytes: &[u8]) -> String {
    let blob = [format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat();
    hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, &blob).as_ref())
}

/// What the hub lists of files.
pub(crate) fn listing(files: &BTreeMap<String, Vec<u8>>) -> Value {
    let sibling = |(name, bytes): (&String, &Vec<u8>)| {
        let mut sibling = json!({ "rfilename": name, "size": bytes.len(), "blobId": git_hash(bytes) });
        if is_large(name) {
            // Then it is the hash of a text that points to the file.
            sibling["blobId"] = json!(git_hash(b"version https://git-lfs.github.com/spec/v1"));
            sibling["lfs"] = json!({ "sha256": sha256(bytes), "size": bytes.len(), "pointerSize": 130 });
        }
        sibling
    };
    let siblings: Vec<Value> = files.iter().map(sibling).collect();
    json!({ "id": "o/n", "sha": COMMIT, "gated": false, "cardData": { "license": "cc-by-4.0" }, "siblings": siblings })
}

/// Whether every file of a folder is that of the map, and the other way round, apart from the record.
pub(crate) fn assert_files(folder: &Path, files: &BTreeMap<String, Vec<u8>>) {
    let mut found = BTreeMap::new();
    for sub in ["", "onnx/"] {
        // A model without graphs has no folder for them.
        for entry in std::fs::read_dir(folder.join(sub)).into_iter().flatten().flatten() {
            let name = format!("{sub}{}", entry.file_name().to_string_lossy());
            if entry.path().is_file() && name != "descry-pull.json" {
                found.insert(name, std::fs::read(entry.path()).expect("a file"));
            }
        }
    }
    assert_eq!(found.keys().collect::<Vec<_>>(), files.keys().collect::<Vec<_>>());
    assert!(found == *files, "a file has other bytes");
}

impl Served {
    fn serve(&self, mut stream: TcpStream, outside: bool) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let asked = HubAsked { outside, head };
        let number = {
            let mut all = self.asked.lock().expect("no panic");
            all.push(asked.clone());
            all.len() - 1
        };
        let reply = (self.behaviour)(number, &asked);
        if let HubReply::Http(status, headers, body) = reply {
            let length = body.len();
            write!(stream, "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n")?;
            return stream.write_all(&body);
        }
        if asked.path().starts_with("api/models/") {
            return answer(&mut stream, &asked, &self.listing, &reply);
        }
        let name = asked.path().split_once(&format!("resolve/{COMMIT}/")).map_or("", |(_, name)| name);
        let Some(bytes) = self.files.get(name) else {
            return write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        };
        if is_large(name) && !outside {
            let to = format!("http://127.0.0.1:{}/{}?X-Amz-Signature={SIGNATURE}", self.outside, asked.path());
            return write!(
                stream,
                "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
        answer(&mut stream, &asked, bytes, &reply)
    }
}

fn answer(stream: &mut TcpStream, asked: &HubAsked, bytes: &[u8], reply: &HubReply) -> std::io::Result<()> {
    let mut bytes = bytes.to_vec();
    if matches!(reply, HubReply::Wrong) {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    }
    let from = asked.from().filter(|_| !matches!(reply, HubReply::Whole));
    let (status, range) = match from {
        Some(from) if from >= bytes.len() => {
            ("416 Range Not Satisfiable", format!("Content-Range: bytes */{}\r\n", bytes.len()))
        }
        Some(from) => {
            ("206 Partial Content", format!("Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len()))
        }
        None => ("200 OK", String::new()),
    };
    let body = &bytes[from.unwrap_or(0).min(bytes.len())..];
    write!(stream, "HTTP/1.1 {status}\r\n{range}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    match reply {
        HubReply::Cut(n) => stream.write_all(&body[..body.len().min(*n)]),
        HubReply::Hang(n) => {
            stream.write_all(&body[..body.len().min(*n)])?;
            std::thread::sleep(Duration::from_secs(600));
            Ok(())
        }
        HubReply::Slow(n) => body.chunks(*n).try_for_each(|piece| {
            std::thread::sleep(Duration::from_millis(2));
            stream.write_all(piece)
        }),
        _ => stream.write_all(body),
    }
}
