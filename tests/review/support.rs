//! A review that runs, and a client of its page.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::{Bench, tiny};

/// A film of 6 s with a cut every 2 s and a tone.
pub(crate) fn film(b: &Bench, name: &str) {
    let scenes = "-f lavfi -i color=red:s=160x90:r=10:d=2 -f lavfi -i testsrc=s=160x90:r=10:d=2 \
        -f lavfi -i color=blue:s=160x90:r=10:d=2 -f lavfi -i sine=440:d=6 \
        -filter_complex [0][1][2]concat=n=3[v] -map [v] -map 3 -pix_fmt yuv420p";
    b.ffmpeg(&format!("{scenes} -c:v libx264 -c:a aac -shortest {name}"));
}

pub(crate) struct Review {
    child: Child,
    pub(crate) address: String,
}

impl Review {
    /// Starts a review, and waits until its page is there.
    pub(crate) fn start(b: &Bench, args: &[&str]) -> Review {
        let mut all = [&["review"], args, &["--no-open", "--listen", "127.0.0.1:0"]].concat();
        if !args.contains(&"--dialogue") {
            all.extend(["--audio", "none"]);
        }
        let args = if args.contains(&"--model") { all } else { tiny(&all) };
        let mut command = Command::new(env!("CARGO_BIN_EXE_descry"));
        command.args(args).current_dir(b.path("."));
        Review::of(command)
    }

    /// As [`Review::start`], of a command that starts one.
    pub(crate) fn of(mut command: Command) -> Review {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut line = String::new();
        let _ = BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line);
        let Some(address) = line.strip_prefix("http://").and_then(|rest| rest.strip_suffix("/\n")) else {
            let _ = child.kill();
            let out = child.wait_with_output().unwrap();
            panic!("{command:?}: {line}{}", String::from_utf8_lossy(&out.stderr));
        };
        let address = address.to_string();
        Review { child, address }
    }

    /// Sends a request as bytes, and returns the status, the head and the body.
    pub(crate) fn send(&self, head: &str, body: &str) -> (u16, String, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.address).expect("the page is there");
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let request = format!("{head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).unwrap();
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        let end = all.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or_else(|| panic!("no answer to {head}"));
        let text = String::from_utf8_lossy(&all[..end]).into_owned();
        let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        let body = all.split_off(end + 4);
        let chunked = text.to_ascii_lowercase().contains("transfer-encoding: chunked");
        (status, text, if chunked { unchunked(&body) } else { body })
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String, Vec<u8>) {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: {}", self.address), "")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let head = format!("POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json", self.address);
        let (status, _, body) = self.send(&head, &body.to_string());
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// Makes an edit that must succeed.
    pub(crate) fn edit(&self, edit: &Value) -> Value {
        let (status, report) = self.post("/api/edit", &json!({ "edit": edit, "who": "ann" }));
        assert_eq!(status, 200, "{edit}: {report}");
        report
    }

    /// Everything that the page loads.
    pub(crate) fn load(&self) -> Value {
        let (status, _, body) = self.get("/api/review");
        assert_eq!(status, 200);
        serde_json::from_slice(&body).unwrap()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it as Ctrl-C does, and returns the exit code and what was reported.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let status = self.child.wait().unwrap();
        let mut errors = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        (status.code(), errors)
    }
}

impl Drop for Review {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = body.windows(2).position(|w| w == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        body = &body[end + 2..];
        if size == 0 || size > body.len() {
            break;
        }
        whole.extend_from_slice(&body[..size]);
        body = &body[size + 2..];
    }
    whole
}

/// A cue of a loaded review, as edits name it.
pub(crate) fn seen(loaded: &Value, at: usize) -> Value {
    let cue = &loaded["document"]["cues"][at];
    json!({ "id": cue["id"], "version": cue["version"] })
}
