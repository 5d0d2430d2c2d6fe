//! Sends invented streams to the real outputs of live mode, to test the outputs and the page.
//!
//! `live_outputs play [--http ADDRESS] [--token TOKEN] [--streams N] [--seconds N] [PICTURE …]` runs in real time and prints
//! JSON lines on standard output.
//!
//! `live_outputs hls FOLDER VIDEO PTS SECONDS [PTS SECONDS …]` writes the whole playlist of a video immediately. Each part of
//! the video starts at a time of the video's own clock (90 kHz) and lasts that many seconds. There is a caption every 2.5 s,
//! and its text contains the second at which it starts.
//!
//! `live_outputs hls-live FOLDER VIDEO PTS UNIX-SECONDS SECONDS` does the same in real time, half a second behind a video that
//! started at that moment.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use descry::live::{
    ClockMapping, Event, EventKind, HlsOptions, HlsSink, HttpOptions, HttpServer, Hub, JsonLinesSink, LiveCaption,
    Metrics, ModelState, Reason, Sink, StreamState,
};
use descry::time::Time;

const TEXTS: [&str; 8] = [
    "a man is riding a bike down the street",
    "a group of people stand in front of a building",
    "<img src=x onerror=\"window.pwned=1\"><script>window.pwned=1</script> & a dog",
    "two children are playing with a ball in a park while a woman in a long red coat looks on from a bench",
    "a white van",
    "a brown dog is running through the grass",
    "a man in a yellow jacket carries a ladder along a wall",
    "the street is empty",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first() {
        Some((what, rest)) if what == "play" => play(rest),
        Some((what, rest)) if what == "hls" && rest.len() >= 4 => hls(rest),
        Some((what, rest)) if what == "hls-live" && rest.len() == 5 => hls_live(rest),
        _ => Err("see the top of examples/live_outputs.rs".into()),
    }
}

/// Numbers and publishes the events of a stream.
struct Emitter {
    stream: Arc<str>,
    next: u64,
}

impl Emitter {
    fn emit(&mut self, hub: &Hub, kind: EventKind) {
        let event = Event { stream: self.stream.clone(), number: self.next, at: SystemTime::now(), kind };
        self.next += 1;
        hub.publish(Arc::new(event));
    }
}

fn caption(time: Time, wall: SystemTime, text: &str, jpeg: Arc<[u8]>) -> EventKind {
    EventKind::Caption(LiveCaption {
        start: time,
        picture_time: time,
        due: time,
        wall,
        arrived: Instant::now() - Duration::from_millis(700),
        waited: Duration::ZERO,
        text: text.into(),
        score: Some(0.5),
        returning: text.len() < 20,
        screen_text: Arc::new([]),
        jpeg,
    })
}

fn play(args: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let (mut listen, mut token, mut count, mut seconds) = (SocketAddr::from(([127, 0, 0, 1], 0)), None, 2, 60);
    let mut pictures: Vec<Arc<[u8]>> = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} lacks a value"));
        match arg.as_str() {
            "--http" => listen = value()?.parse()?,
            "--token" => token = Some(value()?.clone()),
            "--streams" => count = value()?.parse()?,
            "--seconds" => seconds = value()?.parse()?,
            picture => pictures.push(std::fs::read(picture)?.into()),
        }
    }
    let names: Vec<Arc<str>> = ["Front door", "Car park <north>", "Loading bay", "Hall", "Roof", "Garden"]
        .iter()
        .cycle()
        .enumerate()
        .map(|(i, n)| if i < 6 { (*n).into() } else { format!("{n} {i}").into() })
        .take(count)
        .collect();
    let metrics = Metrics::new(&names);
    let http = HttpServer::bind(&HttpOptions { listen, token }, &names, metrics.clone())?;
    eprintln!("http://{}/", http.address());
    let sinks: Vec<Box<dyn Sink>> = vec![Box::new(http), Box::new(JsonLinesSink::new(std::io::stdout()))];
    let hub = Hub::new(sinks, metrics.clone());
    metrics.set_model(ModelState::Working);
    let mut emitters: Vec<Emitter> = names.iter().map(|n| Emitter { stream: n.clone(), next: 0 }).collect();
    for (i, t) in emitters.iter_mut().enumerate() {
        let now = SystemTime::now();
        t.emit(&hub, EventKind::State { state: StreamState::Ready, reason: None });
        if i == 2 {
            t.emit(&hub, EventKind::State { state: StreamState::Null, reason: Some(Reason::OpenRead) });
            continue;
        }
        t.emit(&hub, EventKind::State { state: StreamState::Playing, reason: None });
        t.emit(&hub, EventKind::Clock(ClockMapping { time: Time::ZERO, pts: 0, wall: now }));
    }
    let began = Instant::now();
    for half in 0..seconds * 2 {
        let now = SystemTime::now();
        let time = Time::from_micros(began.elapsed().as_micros() as i64);
        for (i, t) in emitters.iter_mut().enumerate() {
            let counted = metrics.stream(&t.stream).ok_or("no such stream")?;
            if i == 2 {
                if half % 8 == 0 {
                    counted.reconnect(Reason::OpenRead);
                }
                continue;
            }
            (0..12).for_each(|_| counted.frame_in());
            if (half + i as u64 * 2).is_multiple_of(5) {
                counted.keyframe();
                counted.caption();
                let place = (half / 5) as usize + i * 3;
                let jpeg = pictures.get(place % pictures.len().max(1)).cloned().unwrap_or_else(|| Arc::new([]));
                t.emit(&hub, caption(time, now, TEXTS[place % TEXTS.len()], jpeg));
            }
            if half == 9 && i == 1 {
                t.emit(&hub, EventKind::Dropped { keyframes: 3, frames: 0 });
            }
            t.emit(&hub, EventKind::Progress { time, wall: now });
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    emitters.iter_mut().for_each(|t| t.emit(&hub, EventKind::End));
    hub.close(Duration::from_secs(2));
    Ok(())
}

fn hls(args: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let stream: Arc<str> = "film".into();
    let options = HlsOptions { video: Some(args[1].as_str().into()), window: 100, ..HlsOptions::default() };
    let metrics = Metrics::new([&stream]);
    let hls = HlsSink::open(Path::new(&args[0]), std::slice::from_ref(&stream), &options)?;
    let hub = Hub::new(vec![Box::new(hls)], metrics.clone());
    let mut emitter = Emitter { stream, next: 0 };
    let mut emit = |kind| {
        emitter.emit(&hub, kind);
        // Without pacing, so wait for the queue: nothing may be lost.
        while metrics.sinks()[0].waiting() > 100 {
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let began = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let (mut from, mut next) = (Time::ZERO, Time::from_millis(500));
    for part in args[2..].chunks_exact(2) {
        let length = Time::from_secs(part[1].parse()?);
        let wall = |t: Time| began + Duration::from_micros(t.micros().max(0) as u64);
        emit(EventKind::Clock(ClockMapping { time: from, pts: part[0].parse()?, wall: wall(from) }));
        let end = from + length;
        let mut time = from;
        while time < end {
            while next <= time {
                let text = format!("a dog at second {}", next.micros() / 1_000_000);
                emit(caption(next, wall(next), &text, Arc::new([])));
                next = next + Time::from_millis(2_500);
            }
            emit(EventKind::Progress { time, wall: wall(time) });
            time = time + Time::from_millis(250);
        }
        emit(EventKind::Progress { time: end, wall: wall(end) });
        from = end;
    }
    emit(EventKind::End);
    hub.close(Duration::from_secs(5));
    Ok(())
}

fn hls_live(args: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let stream: Arc<str> = "camera".into();
    let options = HlsOptions { video: Some(args[1].as_str().into()), ..HlsOptions::default() };
    let hls = HlsSink::open(Path::new(&args[0]), std::slice::from_ref(&stream), &options)?;
    let hub = Hub::new(vec![Box::new(hls)], Metrics::new([&stream]));
    let mut emitter = Emitter { stream, next: 0 };
    let began = UNIX_EPOCH + Duration::from_secs_f64(args[3].parse()?);
    emitter.emit(&hub, EventKind::Clock(ClockMapping { time: Time::ZERO, pts: args[2].parse()?, wall: began }));
    let (until, mut next) = (Time::from_secs(args[4].parse()?), Time::from_millis(500));
    loop {
        let seen = began.elapsed().unwrap_or_default().saturating_sub(Duration::from_millis(500));
        let time = Time::from_micros(seen.as_micros() as i64);
        if time > until {
            break;
        }
        while next <= time {
            let wall = began + Duration::from_micros(next.micros() as u64);
            let text = format!("a dog at second {}", next.micros() / 1_000_000);
            emitter.emit(&hub, caption(next, wall, &text, Arc::new([])));
            next = next + Time::from_millis(2_500);
        }
        emitter.emit(&hub, EventKind::Progress { time, wall: began + seen });
        std::thread::sleep(Duration::from_millis(200));
    }
    hub.close(Duration::from_secs(5));
    Ok(())
}
