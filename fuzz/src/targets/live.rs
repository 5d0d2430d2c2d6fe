//! Addresses, the configuration of live mode, defaults of options, its page and its WebVTT files.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use descry::address::{Address, hide};
use descry::fuzzing::forget_secrets;
use descry::live::{
    Event, EventKind, Existing, HttpOptions, HttpServer, LiveCaption, LiveConfig, Metrics, Sink, VttSink,
};
use descry::time::Time;
use descry::track::CueOptions;
use url::Url;

use crate::scratch::{SECRET, check_error, scratch_file};

/// An address: wherever a parser that others wrote finds the password or a value of the query, descry shows neither, in
/// the address itself, in its `Debug` and in a text that quotes it.
pub(crate) fn address(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    forget_secrets();
    let _ = hide(text);
    let address = Address::new(text);
    assert_eq!(address.reveal(), text);
    let shown = [address.to_string(), address.shown(), format!("{address:?}")];
    assert!(shown.iter().all(|s| s.len() <= text.len() + 32), "{shown:?}");
    let Some(secrets) = secrets_by_url(text) else { return };
    for shown in shown {
        assert!(!shown.contains(SECRET), "{text:?} shows {shown:?}");
    }
    let mut quoted = vec![hide(text), hide(&format!("'{text}' cannot be opened"))];
    // A secret alone is known by heart.
    quoted.extend(
        secrets.iter().filter(|secret| *secret == SECRET).map(|secret| hide(&format!("login {secret} failed"))),
    );
    for quoted in quoted {
        assert!(!quoted.contains(SECRET), "{text:?} shows in {quoted:?}");
    }
}

/// The password and the values of the query that hold the secret, by the rules of WHATWG; `None` where there are none, or
/// where the secret is in another part too.
fn secrets_by_url(text: &str) -> Option<Vec<String>> {
    let url = Url::parse(text).ok().filter(|_| descry::address::is_url(text))?;
    let password = url.password().map(String::from);
    let values = url.query_pairs().map(|(_, value)| value.into_owned());
    let secrets: Vec<String> = password.into_iter().chain(values).filter(|value| value.contains(SECRET)).collect();
    let all = text.matches(SECRET).count();
    (!secrets.is_empty() && all == secrets.iter().map(|value| value.matches(SECRET).count()).sum::<usize>())
        .then_some(secrets)
}

/// The `descry.toml` of a project: it sets options that describe, and no other; no message shows the login of an address.
pub(crate) fn defaults(data: &[u8]) {
    const LOGIN: &str = "://u:S3cr3tW0rd@h";
    let Ok(text) = std::str::from_utf8(data) else { return };
    forget_secrets();
    match descry::cli::project_words(text) {
        Ok(words) => {
            assert!(words.len() <= 3 + text.len(), "{words:?}");
            for refused in
                ["--output", "--force", "--insecure", "--allow-private", "--no-isolate", "--hwaccel", "--model=openai"]
            {
                assert!(!words.iter().any(|word| word.starts_with(refused)), "{words:?}");
            }
        }
        Err(error) if text.matches(SECRET).count() == text.matches(LOGIN).count() => check_error(&error),
        Err(error) => assert!(!error.to_string().trim().is_empty()),
    }
}

/// The TOML file of live mode: what is accepted has unique names and settings in their ranges, and no message quotes it.
pub(crate) fn config(data: &[u8]) {
    forget_secrets();
    let path = scratch_file("streams.toml", data);
    let file = match LiveConfig::read(&path) {
        Ok(file) => file,
        Err(error) => return check_error(&error),
    };
    if !String::from_utf8_lossy(data).lines().all(has_only_secrets) {
        return;
    }
    let nothing = LiveConfig::default();
    match nothing.hang(Some(&file)) {
        Ok(hang) => assert!((1.0..=1e6).contains(&hang.as_secs_f64())),
        Err(error) => check_error(&error),
    }
    let streams = match nothing.streams(Some(&file), &[]) {
        Ok(streams) => streams,
        Err(error) => return check_error(&error),
    };
    assert!((1..=256).contains(&streams.len()));
    let mut names: Vec<_> = streams.iter().map(|stream| stream.name.clone()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), streams.len(), "two streams have one name");
    for stream in &streams {
        assert!(stream.silence >= Duration::from_millis(500) && stream.watcher.max_gap >= Time::from_millis(100));
        assert!(stream.decode_threads <= 64 && stream.min_interval >= Time::ZERO);
        assert!(!format!("{stream:?}").contains(SECRET), "{stream:?}");
    }
}

/// Whether a line of a TOML file has the secret only where a secret may be.
fn has_only_secrets(line: &str) -> bool {
    let Some((key, value)) = line.split_once('=').filter(|_| line.contains(SECRET)) else {
        return !line.contains(SECRET);
    };
    let value = value.trim().trim_matches(['\'', '"']);
    match key.trim() {
        "http_token" | "webhook_token" | "webhook" => true,
        "url" => secrets_by_url(value).is_some(),
        _ => false,
    }
}

/// The token of the second server. No answer may show it.
const TOKEN: &str = "0123456789abcdefTOKEN";

/// Two servers of this process: one for this machine, one with a token.
static SERVERS: LazyLock<Mutex<[HttpServer; 2]>> = LazyLock::new(|| {
    Mutex::new([None, Some(TOKEN.to_string())].map(|token| {
        let options = HttpOptions { listen: ([127, 0, 0, 1], 0).into(), token };
        HttpServer::bind(&options, &["door".into()], Metrics::new(["door"])).expect("a free port")
    }))
});

/// Bytes to the page of live mode. An answer is whole and has the headers that protect it; without the token there is none
/// but a refusal. The first byte of an input chooses the server.
pub(crate) fn http(data: &[u8]) {
    let Some((choice, request)) = data.split_first() else { return };
    let guarded = choice % 2 == 1;
    let address = SERVERS.lock().unwrap_or_else(PoisonError::into_inner)[usize::from(guarded)].address();
    let mut stream = TcpStream::connect(address).expect("a server that accepts connections");
    let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
    // The server may have refused it before the last byte.
    let _ = stream.write_all(request).and_then(|()| stream.shutdown(Shutdown::Write));
    let answer = answer_of(&mut stream);
    if answer.is_empty() {
        return;
    }
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer with a whole head");
    let line = head.strip_prefix("HTTP/1.").and_then(|rest| rest.strip_prefix("1 ").or(rest.strip_prefix("0 ")));
    let status = line.and_then(|rest| rest.get(..3)).expect("a status");
    let status: u16 = status.parse().expect("a status in digits");
    assert!(matches!(status, 200 | 303 | 400 | 401 | 403 | 404 | 405 | 408 | 414 | 429 | 431 | 503 | 505), "{head}");
    assert!(!text.contains(TOKEN), "an answer shows the token");
    if matches!(status, 200 | 303) {
        for header in ["Content-Security-Policy: ", "Cache-Control: no-store", "X-Content-Type-Options: nosniff"] {
            assert!(head.contains(header), "{header} is missing: {head}");
        }
    }
    if guarded && status == 200 {
        assert!(String::from_utf8_lossy(request).contains(TOKEN), "an answer without the token: {head}");
    }
    if request.starts_with(b"HEAD ") && status == 200 {
        assert!(body.is_empty(), "an answer to HEAD with a body");
    }
}

/// Everything that the server sends; of the events, which do not end, the beginning.
fn answer_of(stream: &mut TcpStream) -> Vec<u8> {
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..read]);
        if answer.windows(17).any(|part| part == b"text/event-stream") && answer.windows(4).any(|p| p == b"\r\n\r\n") {
            break;
        }
    }
    answer
}

/// A WebVTT file that is to be appended to: what it has stays, times continue after it, and it can be appended to again.
pub(crate) fn vtt(data: &[u8]) {
    let path = scratch_file("live.vtt", data);
    let stream: Arc<str> = "door".into();
    let open = || VttSink::open(&path, std::slice::from_ref(&stream), Existing::Append, &CueOptions::default());
    let mut starts = Vec::new();
    for round in 0..2 {
        let mut sink = match open() {
            Ok(sink) => sink,
            Err(error) => {
                assert_eq!(round, 0, "a file that descry has written: {error}");
                check_error(&error);
                assert_eq!(std::fs::read(&path).expect("the file"), data, "a refused file has changed");
                return;
            }
        };
        sink.event(&caption(&stream, Time::from_millis(500))).expect("a cue can be queued");
        sink.close().expect("a file in a temporary folder can be written");
        drop(sink);
        let text = std::fs::read(&path).expect("the file");
        starts.push(last_start(&text));
    }
    let text = std::fs::read(&path).expect("the file");
    assert!(text.starts_with(b"WEBVTT"), "no WebVTT any more");
    let kept = data.iter().zip(&text).take_while(|(a, b)| a == b).count();
    // What replaces a block may begin as the block does.
    let block = data[..kept].windows(2).rposition(|end| end == b"\n\n").map_or(0, |at| at + 2);
    assert!(kept == data.len() || is_damaged(&data[block..]), "only {kept} bytes of {} are left", data.len());
    assert!(starts[0] < starts[1], "times do not continue: {starts:?}");
}

/// Whether every block of this end of a file is one that a crash may have left: with zeros, without its last line feed, or a
/// cue without a text.
fn is_damaged(end: &[u8]) -> bool {
    let end = String::from_utf8_lossy(end);
    end.split("\n\n").all(|block| {
        let cue = block.lines().next().is_some_and(|line| line.contains(" --> "));
        block.trim().is_empty() || block.contains('\0') || !block.ends_with('\n') || cue && block.lines().count() < 2
    })
}

/// The start of the last cue of a file that was just written.
fn last_start(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let line = text.lines().rev().find(|line| line.contains(" --> ")).expect("the cue that was written");
    let start = line.split(" --> ").next().unwrap_or_default();
    // Hours may have any number of digits: longer is later.
    format!("{:>24}", start)
}

fn caption(stream: &Arc<str>, start: Time) -> Event {
    let caption = LiveCaption {
        start,
        picture_time: start,
        due: start,
        wall: SystemTime::UNIX_EPOCH,
        arrived: Instant::now(),
        waited: Duration::ZERO,
        text: "A dog runs".into(),
        score: None,
        returning: false,
        screen_text: Arc::from([]),
        jpeg: Arc::from([]),
    };
    Event { stream: stream.clone(), number: 0, at: SystemTime::UNIX_EPOCH, kind: EventKind::Caption(caption) }
}
