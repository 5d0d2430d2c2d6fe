//! A real RTSP server, and a proxy before it that does what networks do.
#![allow(dead_code)] // Benches use only a part of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// GStreamer's server in a process of its own; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub port: u16,
}

impl Server {
    /// Serves `mounts`, each `PATH=PIPELINE`, on a port of its own (0) or a given one.
    pub(crate) fn new(port: u16, login: Option<(&str, &str)>, mounts: &[String]) -> Server {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rtsp/server.py");
        // Debian's Python has Debian's bindings.
        let debian = "/usr/bin/python3";
        let python = if std::path::Path::new(debian).exists() { debian } else { "python3" };
        let mut command = Command::new(python);
        command.arg(script).arg(port.to_string());
        if let Some((user, password)) = login {
            command.args(["--user", user, "--password", password]);
        }
        let mut child = command
            .args(mounts)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts: run tools/setup.sh test");
        let mut line = String::new();
        let out = child.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut line).expect("the server says its port");
        let port = line.trim().parse().expect("the server listens: run tools/setup.sh test");
        Server { child, port }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("rtsp://127.0.0.1:{}{path}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody listens on now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a socket").local_addr().expect("an address").port()
}

/// What a proxy does with what the server sends.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Mode {
    Pass,
    /// Nothing more comes, and nobody closes.
    Stall,
    /// Connections end, in the middle of a packet.
    Truncate,
    /// Everything comes this much later than the thing before it: slower than it plays.
    Delay(Duration),
    /// RTP times are off by this many ticks of 90 kHz.
    Shift(i32),
    /// RTP times stand still.
    Freeze,
    /// RTP times begin anew from 0.
    Zero,
    /// Every so many packets are lost.
    Drop(u32),
    /// Every so many packets have bytes turned over.
    Corrupt(u32),
}

/// Stands between descry and a server on the same machine, and can be told at any time how to behave.
pub(crate) struct Proxy {
    pub port: u16,
    mode: Arc<Mutex<Mode>>,
    stamps: Arc<Mutex<Stamps>>,
}

/// When the first packet of each frame was passed on, by its RTP time.
pub(crate) type Stamps = Vec<(u32, Instant)>;

impl Proxy {
    pub(crate) fn new(server: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let port = listener.local_addr().expect("an address").port();
        let mode = Arc::new(Mutex::new(Mode::Pass));
        let shared = mode.clone();
        let stamps = Arc::<Mutex<Stamps>>::default();
        let stamped = stamps.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(upstream) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let (mut from, mut to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
                let (mode, stamps) = (shared.clone(), stamped.clone());
                std::thread::spawn(move || {
                    let _ = forward(&upstream, &client, &mode, &stamps);
                    let _ = client.shutdown(Shutdown::Both);
                    let _ = upstream.shutdown(Shutdown::Both);
                });
            }
        });
        Proxy { port, mode, stamps }
    }

    pub(crate) fn stamps(&self) -> Stamps {
        self.stamps.lock().unwrap().clone()
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("rtsp://127.0.0.1:{}{path}", self.port)
    }
}

/// Reads answers and interleaved packets apart, and passes them on as told.
fn forward(
    upstream: &TcpStream,
    mut client: &TcpStream,
    mode: &Mutex<Mode>,
    stamps: &Mutex<Stamps>,
) -> std::io::Result<()> {
    let mut from = BufReader::new(upstream);
    let (mut count, mut since, mut before) = (0u32, None, Mode::Pass);
    loop {
        let mut head = [0; 4];
        from.read_exact(&mut head[..1])?;
        let mut bytes;
        let packet = head[0] == b'$';
        if packet {
            from.read_exact(&mut head[1..])?;
            let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
            bytes = head.to_vec();
            bytes.resize(4 + length, 0);
            from.read_exact(&mut bytes[4..])?;
        } else {
            bytes = vec![head[0]];
            while !bytes.ends_with(b"\r\n\r\n") {
                from.read_exact(&mut head[..1])?;
                bytes.push(head[0]);
            }
            let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
            let length =
                text.split_once("content-length:").and_then(|(_, rest)| rest.lines().next()?.trim().parse().ok());
            let start = bytes.len();
            bytes.resize(start + length.unwrap_or(0usize), 0);
            from.read_exact(&mut bytes[start..])?;
        }
        let video = packet && bytes[1] == 0 && bytes.len() > 20;
        if video {
            let time = u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
            let mut stamps = stamps.lock().unwrap();
            if stamps.last().is_none_or(|(last, _)| *last != time) {
                stamps.push((time, Instant::now()));
            }
        }
        let mut told = *mode.lock().unwrap();
        while told == Mode::Stall {
            std::thread::sleep(Duration::from_millis(20));
            told = *mode.lock().unwrap();
        }
        if told != before {
            (before, since) = (told, None);
        }
        match told {
            Mode::Truncate if packet => {
                client.write_all(&bytes[..bytes.len() / 2])?;
                return Ok(());
            }
            Mode::Delay(by) if packet => std::thread::sleep(by),
            Mode::Shift(by) if video => {
                let time = u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
                bytes[8..12].copy_from_slice(&time.wrapping_add_signed(by).to_be_bytes());
            }
            Mode::Freeze | Mode::Zero if video => {
                let time = u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
                let first = *since.get_or_insert(time);
                let new = if told == Mode::Freeze { first } else { time.wrapping_sub(first) };
                bytes[8..12].copy_from_slice(&new.to_be_bytes());
            }
            Mode::Drop(every) if video => {
                count += 1;
                if count.is_multiple_of(every) {
                    continue;
                }
            }
            Mode::Corrupt(every) if video => {
                count += 1;
                if count.is_multiple_of(every) {
                    let middle = bytes.len() / 2;
                    bytes[middle..].iter_mut().for_each(|b| *b = b.wrapping_mul(31).wrapping_add(7));
                }
            }
            _ => {}
        }
        client.write_all(&bytes)?;
    }
}

/// Ports for what cannot choose its own, each once in this process.
pub(crate) fn next_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 20_000 + (std::process::id() % 20_000) as u16;
    base + NEXT.fetch_add(1, Ordering::Relaxed)
}
