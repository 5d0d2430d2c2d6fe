//! A web server of a folder, with ranges, that remembers every request.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

pub(crate) struct Web {
    pub(crate) port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Web {
    /// Serves the files of a folder.
    pub(crate) fn new(folder: PathBuf) -> Web {
        Web::with(folder, |_| None)
    }

    /// Serves the files of a folder, except for requests to which there is another answer.
    pub(crate) fn with(folder: PathBuf, other: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Web {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let (seen, other) = (requests.clone(), Arc::new(other));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (seen, other, folder) = (seen.clone(), other.clone(), folder.clone());
                std::thread::spawn(move || {
                    // Connections are kept.
                    while let Some(request) = read(&mut stream) {
                        seen.lock().unwrap().push(request.clone());
                        let mut answer = other(&request).map_or_else(|| file(&request, &folder), String::into_bytes);
                        if request.starts_with("HEAD ") {
                            let head = answer.windows(4).position(|w| w == b"\r\n\r\n").map_or(0, |at| at + 4);
                            answer.truncate(head);
                        }
                        if stream.write_all(&answer).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Web { port, requests }
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}/{name}", self.port)
    }

    /// The requests since the last call: first line and headers.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

fn read(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        request.push(byte[0]);
    }
    Some(String::from_utf8_lossy(&request).into_owned())
}

/// The path of a request, without its query.
pub(crate) fn path(request: &str) -> &str {
    let path = request.split(' ').nth(1).unwrap_or("/");
    path.split('?').next().unwrap_or(path).trim_start_matches('/')
}

/// The value of a header.
pub(crate) fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    let lines = request.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// An answer that leads elsewhere.
pub(crate) fn moved(target: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n")
}

fn file(request: &str, folder: &std::path::Path) -> Vec<u8> {
    let Ok(bytes) = std::fs::read(folder.join(path(request))) else {
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec();
    };
    let range = header(request, "range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let Some((from, to)) = range else {
        let head = format!("HTTP/1.1 200 OK\r\nAccept-Ranges: bytes\r\nContent-Length: {}\r\n\r\n", bytes.len());
        return [head.as_bytes(), &bytes].concat();
    };
    let from = from.parse::<usize>().unwrap().min(bytes.len());
    let to = to.parse::<usize>().map_or(bytes.len(), |to| (to + 1).min(bytes.len()));
    let (length, whole, last) = (to - from, bytes.len(), to - 1);
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{last}/{whole}\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), &bytes[from..to]].concat()
}
