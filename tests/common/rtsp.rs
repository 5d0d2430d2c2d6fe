//! A real RTSP server, and a proxy in front of it that simulates network faults.
#![allow(dead_code)] // Benches use only parts of this module.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// GStreamer's server in its own process. Dropping it kills the process.
pub(crate) struct Server {
    child: Child,
    pub port: u16,
}

impl Server {
    /// Serves `mounts`, each `PATH=PIPELINE`, on the given port, or on a free one if it is 0.
    pub(crate) fn new(port: u16, login: Option<(&str, &str)>, mounts: &[String]) -> Server {
        Server::with(port, login, &[], mounts)
    }

    /// Asks for a digest of the password instead of the password.
    pub(crate) fn with_digest(login: (&str, &str), mounts: &[String]) -> Server {
        Server::with(0, Some(login), &["--digest"], mounts)
    }

    fn with(port: u16, login: Option<(&str, &str)>, options: &[&str], mounts: &[String]) -> Server {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rtsp/server.py");
        // Debian installs the GStreamer bindings for its own Python.
        let debian = "/usr/bin/python3";
        let python = if std::path::Path::new(debian).exists() { debian } else { "python3" };
        let mut command = Command::new(python);
        command.arg(script).arg(port.to_string());
        if let Some((user, password)) = login {
            command.args(["--user", user, "--password", password]);
        }
        let mut child = command
            .args(options)
            .args(mounts)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts: run tools/setup.sh test");
        let mut line = String::new();
        let out = child.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut line).expect("the server prints its port");
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

/// A port on which nothing listens now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a socket").local_addr().expect("an address").port()
}

/// What a proxy does with the server's data.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Mode {
    Pass,
    /// Forwards nothing, and closes no connection.
    Stall,
    /// Closes connections in the middle of a packet.
    Truncate,
    /// Waits this long before each packet, so that the stream arrives slower than it plays.
    Delay(Duration),
    /// Shifts RTP times by this many ticks of 90 kHz.
    Shift(i32),
    /// Stops the RTP times.
    Freeze,
    /// Restarts the RTP times from 0.
    Zero,
    /// Drops every n-th packet.
    Drop(u32),
    /// Corrupts every n-th packet.
    Corrupt(u32),
    /// Sends bytes that are no RTSP in place of packets.
    Garbage,
    /// Closes connections, and answers new ones as if the password were wrong.
    Refuse,
}

/// A proxy between descry and a server on the same machine. Its mode can change at any time.
pub(crate) struct Proxy {
    pub port: u16,
    mode: Arc<Mutex<Mode>>,
    stamps: Arc<Mutex<Stamps>>,
}

/// The RTP time of each frame, and when the proxy received its first packet.
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
                if *shared.lock().unwrap() == Mode::Refuse {
                    std::thread::spawn(move || refuse(client));
                    continue;
                }
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

/// Answers each request as a camera does that wants another password.
fn refuse(mut client: TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(client.try_clone()?).lines();
    let mut number = String::new();
    while let Some(line) = lines.next().transpose()? {
        if let Some(n) = line.strip_prefix("CSeq:") {
            number = n.trim().into();
        }
        if line.is_empty() {
            let challenge = "WWW-Authenticate: Basic realm=\"camera\"";
            write!(client, "RTSP/1.0 401 Unauthorized\r\nCSeq: {number}\r\n{challenge}\r\n\r\n")?;
        }
    }
    Ok(())
}

/// Separates responses from interleaved packets, and forwards them according to the mode.
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
        let mut now = *mode.lock().unwrap();
        while now == Mode::Stall {
            std::thread::sleep(Duration::from_millis(20));
            now = *mode.lock().unwrap();
        }
        if now != before {
            (before, since) = (now, None);
        }
        match now {
            Mode::Truncate if packet => {
                client.write_all(&bytes[..bytes.len() / 2])?;
                return Ok(());
            }
            Mode::Refuse => return Ok(()),
            Mode::Garbage if packet => {
                let mut state = count.wrapping_mul(2_654_435_761) | 1;
                bytes.iter_mut().for_each(|b| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    *b = (state >> 24) as u8;
                });
                count += 1;
            }
            Mode::Delay(by) if packet => std::thread::sleep(by),
            Mode::Shift(by) if video => {
                let time = u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
                bytes[8..12].copy_from_slice(&time.wrapping_add_signed(by).to_be_bytes());
            }
            Mode::Freeze | Mode::Zero if video => {
                let time = u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
                let first = *since.get_or_insert(time);
                let new = if now == Mode::Freeze { first } else { time.wrapping_sub(first) };
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

/// A port for a server that cannot choose its own. This process returns each port once.
pub(crate) fn next_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 20_000 + (std::process::id() % 20_000) as u16;
    base + NEXT.fetch_add(1, Ordering::Relaxed)
}
