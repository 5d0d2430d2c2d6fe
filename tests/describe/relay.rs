//! RTSP and RTMP: whom descry connects to, and whom it believes.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::rtsp::{Server, next_port};
use crate::common::tls::{Authority, Certificate, Front};
use crate::common::{Bench, root};

/// A film of a minute at `/film` of an RTSP server.
fn film(b: &Bench) -> String {
    b.ffmpeg("-f lavfi -i testsrc2=size=320x180:rate=25:duration=60 -c:v libx264 -preset ultrafast -g 25 film.mp4");
    let film = b.path("film.mp4");
    format!("/film=filesrc location={} ! qtdemux ! h264parse ! rtph264pay name=pay0 config-interval=1", film.display())
}

/// Answers every request of RTSP with the text that `answer` gives, and remembers the requests.
struct Stub {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    fn new(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (requests, answer) = (Arc::new(Mutex::new(Vec::new())), Arc::new(answer));
        let seen = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, seen) = (answer.clone(), seen.clone());
                std::thread::spawn(move || Stub::serve(&stream, &*answer, &seen));
            }
        });
        Stub { port, requests }
    }

    fn serve(mut stream: &TcpStream, answer: &(dyn Fn(&str) -> String + Send + Sync), seen: &Mutex<Vec<String>>) {
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        loop {
            let request: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
            let Some(number) = request.iter().find(|line| line.starts_with("CSeq:")) else { return };
            let request_text = request.join("\n");
            let text = answer(&request_text).replacen('\n', &format!("\n{number}\n"), 1).replace('\n', "\r\n");
            seen.lock().unwrap().push(request_text);
            if stream.write_all(text.as_bytes()).is_err() {
                return;
            }
        }
    }

    fn redirects(to: impl Into<String>) -> Stub {
        let to = to.into();
        Stub::new(move |_| format!("RTSP/1.0 302 Moved\nLocation: {to}\n\n"))
    }

    fn url(&self) -> String {
        format!("rtsp://user-name:pass-word@127.0.0.1:{}/x", self.port)
    }

    fn requests(&self) -> String {
        self.requests.lock().unwrap().join("\n")
    }
}

#[test]
fn an_rtsps_server_must_prove_who_it_is() {
    let b = Bench::new();
    let server = Server::new(0, Some(("user-name", "pass-word")), &[film(&b)]);
    let authority = Authority::new(&b);
    let ca = authority.pem.to_str().unwrap();
    for (kind, host, flags, refusal) in [
        (Certificate::Good, "localhost", &["--ca", ca][..], None),
        (Certificate::Good, "127.0.0.1", &["--ca", ca], None),
        (Certificate::Good, "localhost", &[], Some("signed by no authority")),
        (Certificate::WrongHost, "localhost", &["--ca", ca], Some("another host")),
        (Certificate::Expired, "localhost", &["--ca", ca], Some("has expired")),
        (Certificate::SelfSigned, "localhost", &["--ca", ca], Some("signed by no authority")),
        (Certificate::SelfSigned, "localhost", &[], Some("signed by no authority")),
        (Certificate::SelfSigned, "localhost", &["--insecure"], None),
        (Certificate::Expired, "localhost", &["--insecure"], None),
        (Certificate::WrongHost, "localhost", &["--insecure"], None),
    ] {
        let front = Front::new(&authority, kind, server.port);
        let url = format!("rtsps://user-name:pass-word@{host}:{}/film", front.port);
        let args = [&["probe", &url], flags].concat();
        let (out, err) = b.run(&args, i32::from(refusal.is_some()));
        match refusal {
            None => assert!(out.contains("h264") && front.received() > 0, "{kind:?} {out}{err}"),
            Some(why) => {
                assert!(err.contains(why) && err.contains("--insecure"), "{kind:?} {err}");
                assert_eq!(front.received(), 0, "{kind:?}");
            }
        }
        assert!(!err.contains("pass-word") && !out.contains("pass-word"), "{out}{err}");
    }
}

/// FFmpeg as a server of RTMP. It serves one client.
struct Rtmp(Child);

impl Rtmp {
    fn new(b: &Bench, port: u16) -> Rtmp {
        let mut child = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "verbose", "-re", "-i", "film.mp4", "-c", "copy", "-f", "flv", "-listen", "1"])
            .arg(format!("rtmp://127.0.0.1:{port}/app/film"))
            .current_dir(b.path(""))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It takes the first connection for its client, so its table of sockets is asked instead.
        let listening = format!(":{port:04X} 00000000:0000 0A");
        while !std::fs::read_to_string("/proc/net/tcp").unwrap().contains(&listening) {
            assert!(child.try_wait().unwrap().is_none(), "FFmpeg serves RTMP");
            std::thread::sleep(Duration::from_millis(20));
        }
        Rtmp(child)
    }
}

impl Drop for Rtmp {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_rtmps_server_must_prove_who_it_is() {
    let b = Bench::new();
    film(&b);
    let authority = Authority::new(&b);
    let ca = authority.pem.to_str().unwrap();
    for (kind, flags, refusal) in [
        (Certificate::Good, &["--ca", ca][..], None),
        (Certificate::SelfSigned, &["--insecure"], None),
        (Certificate::Good, &[], Some("signed by no authority")),
        (Certificate::WrongHost, &["--ca", ca], Some("another host")),
        (Certificate::Expired, &["--ca", ca], Some("has expired")),
        (Certificate::SelfSigned, &["--ca", ca], Some("signed by no authority")),
    ] {
        let port = next_port();
        let _server = refusal.is_none().then(|| Rtmp::new(&b, port));
        let front = Front::new(&authority, kind, port);
        let url = format!("rtmps://localhost:{}/app/film?key=query-token", front.port);
        let (out, err) = b.run(&[&["probe", &url], flags].concat(), i32::from(refusal.is_some()));
        match refusal {
            None => assert!(out.contains("h264") && front.received() > 0, "{kind:?} {out}{err}"),
            Some(why) => {
                assert!(err.contains(why) && err.contains("--insecure"), "{kind:?} {err}");
                assert_eq!(front.received(), 0, "{kind:?}");
            }
        }
        assert!(!err.contains("query-token") && !out.contains("query-token"), "{out}{err}");
    }
}

#[test]
fn passwords_are_proved_and_wrong_ones_refused() {
    let b = Bench::new();
    let mount = film(&b);
    for server in [
        Server::new(0, Some(("user name", "p@ss/w:rd")), std::slice::from_ref(&mount)),
        Server::with_digest(("user name", "p@ss/w:rd"), &[mount]),
    ] {
        let at = |login: &str| format!("rtsp://{login}127.0.0.1:{}/film", server.port);
        let (out, _) = b.run(&["probe", &at("user%20name:p%40ss%2Fw:rd@")], 0);
        assert!(out.contains("h264"), "{out}");
        for wrong in ["user%20name:else@", "user%20name@", ""] {
            let (_, err) = b.run(&["probe", &at(wrong)], 1);
            assert!(err.contains("401"), "{err}");
        }
    }
}

#[test]
fn redirects_do_not_lead_into_private_networks_or_to_files() {
    let b = Bench::new();
    let server = Server::new(0, None, &[film(&b)]);
    let elsewhere = Stub::new(|_| "RTSP/1.0 404 Not Found\n\n".into());
    let film = b.path("film.mp4");
    for (to, cause) in [
        (format!("rtsp://127.0.0.1:{}/film", elsewhere.port), "this machine"),
        (format!("rtsp://localhost:{}/film", elsewhere.port), "this machine"),
        (format!("rtsp://[::ffff:127.0.0.1]:{}/film", elsewhere.port), "this machine"),
        ("rtsp://10.1.2.3/film".into(), "a private address"),
        ("rtsp://169.254.169.254/film".into(), "a link-local address"),
        (format!("file://{}", film.display()), "which is not RTSP"),
        (format!("{}", film.display()), "which is not RTSP"),
        (format!("http://127.0.0.1:{}/film", elsewhere.port), "which is not RTSP"),
    ] {
        let stub = Stub::redirects(to.clone());
        let (_, err) = b.run(&["probe", &stub.url()], 1);
        assert!(err.contains(cause), "{to}: {err}");
        assert!(!stub.requests().is_empty());
    }
    assert_eq!(elsewhere.requests(), "");
    // What is allowed is followed, without the credentials.
    let stub = Stub::redirects(format!("rtsp://127.0.0.1:{}/film", elsewhere.port));
    b.run(&["probe", "--allow-private", &stub.url()], 1);
    assert!(elsewhere.requests().contains("OPTIONS") && !elsewhere.requests().contains("Authorization"));
    let stub = Stub::redirects(format!("rtsp://127.0.0.1:{}/film", server.port));
    let (out, _) = b.run(&["probe", "--allow-private", &stub.url()], 0);
    assert!(out.contains("h264"), "{out}");
    // Round in circles.
    let port = Arc::new(Mutex::new(0));
    let own = port.clone();
    let circle =
        Stub::new(move |_| format!("RTSP/1.0 301 Moved\nLocation: rtsp://127.0.0.1:{}/x\n\n", own.lock().unwrap()));
    *port.lock().unwrap() = circle.port;
    let (_, err) = b.run(&["probe", &circle.url()], 1);
    assert!(err.contains("more than 5"), "{err}");
}

#[test]
fn a_secure_server_does_not_lead_to_an_insecure_one() {
    let b = Bench::new();
    let authority = Authority::new(&b);
    let plain = Stub::new(|_| "RTSP/1.0 404 Not Found\n\n".into());
    let stub = Stub::redirects(format!("rtsp://127.0.0.1:{}/film", plain.port));
    let front = Front::new(&authority, Certificate::Good, stub.port);
    let url = format!("rtsps://user-name:pass-word@localhost:{}/film", front.port);
    let (_, err) = b.run(&["probe", "--allow-private", "--ca", authority.pem.to_str().unwrap(), &url], 1);
    assert!(err.contains("which is not secure"), "{err}");
    assert_eq!(plain.requests(), "");
}

/// The server names a port of another address of this machine as the source of its datagrams.
#[test]
fn datagrams_go_to_the_server_alone() {
    let b = Bench::new();
    let own = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = own.local_addr().unwrap().port();
    // Not every system has more than one loopback address.
    let Ok(other) = UdpSocket::bind(("127.0.0.2", port)) else { return };
    let sdp = "v=0\r\nm=video 0 RTP/AVP 96\r\nc=IN IP4 127.0.0.2\r\na=rtpmap:96 H264/90000\r\na=control:t\r\n";
    let stub = Stub::new(move |request| match request.split(' ').next().unwrap_or_default() {
        "DESCRIBE" => format!(
            "RTSP/1.0 200 OK\nContent-Type: application/sdp\nContent-Length: {}\n\n{}",
            sdp.len(),
            sdp.replace('\r', "")
        ),
        "SETUP" if request.contains("TCP") => "RTSP/1.0 461 Unsupported Transport\n\n".into(),
        "SETUP" => {
            let client = request.split("client_port=").nth(1).unwrap().split('\n').next().unwrap();
            format!(
                "RTSP/1.0 200 OK\nSession: 1\nTransport: RTP/AVP/UDP;unicast;client_port={client};\
                 source=127.0.0.2;server_port={port}-{}\n\n",
                port + 1
            )
        }
        _ => "RTSP/1.0 200 OK\nSession: 1\nPublic: DESCRIBE, SETUP, PLAY\n\n".into(),
    });
    for flags in [&[][..], &["--allow-private"]] {
        let mut args = vec!["describe", "--timeout", "2"];
        let url = stub.url();
        args.push(&url);
        args.extend(flags);
        let model = root().join("tests/models/tiny");
        args.extend(["--model", model.to_str().unwrap()]);
        let _ = b.run(&args, 1);
        let mut buffer = [0; 100];
        let mut arrived = |socket: &UdpSocket| {
            socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            let mut count = 0;
            while socket.recv(&mut buffer).is_ok() {
                count += 1;
            }
            count
        };
        let (here, there) = (arrived(&own), arrived(&other));
        assert!((here > 0) == flags.is_empty() && (there > 0) != flags.is_empty(), "{flags:?}: {here} and {there}");
    }
}
