//! Text that streams show: described when it appears and when it changes, by the real binary, which decodes in processes of
//! its own.

use serde_json::Value;

use crate::common::rtsp::{Mode, Proxy, Server};
use crate::common::{Bench, root, sample, tiny};
use crate::streams::Live;

const LOOK: &str = "fontcolor=white:box=1:boxcolor=black";

/// A line of text in a film of 640 × 360: what it says, where, how high, and when.
fn text(b: &Bench, name: &str, says: &str, place: &str, when: &str) -> String {
    b.write(name, says.as_bytes());
    let path = b.path(name).display().to_string();
    format!(",drawtext=textfile={path}:expansion=none:{place}:{LOOK}{when}")
}

/// A street for so many seconds, with lines over it.
fn film(b: &Bench, name: &str, seconds: u32, lines: &[String]) {
    let bikes = sample("bikes.mp4");
    b.ffmpeg(&format!(
        "-stream_loop 9 -i {bikes} -t {seconds} -an -vf scale=640:360,setsar=1,fps=25{} -c:v libx264 -preset ultrafast \
         -crf 20 -g 50 -bf 0 {name}",
        lines.concat()
    ));
}

/// A score that changes twice, a clock, a logo, and a title in the middle of a shot.
fn match_film(b: &Bench) {
    let clock = r"%{pts\\:gmtime\\:36000\\:%H\\\\\\:%M\\\\\\:%S}";
    let lines = [
        text(b, "s0", "HOME 0  AWAY 0", "x=24:y=20:fontsize=22", r":enable=lt(t\,7)"),
        text(b, "s1", "HOME 1  AWAY 0", "x=24:y=20:fontsize=22", r":enable=between(t\,7\,14.99)"),
        text(b, "s2", "HOME 1  AWAY 1", "x=24:y=20:fontsize=22", r":enable=gte(t\,15)"),
        text(b, "title", "Half-time <b>", "x=180:y=150:fontsize=48", r":enable=between(t\,9\,13)"),
        text(b, "logo", "KANAL 5", "x=520:y=325:fontsize=20", ""),
        format!(",drawtext=text={clock}:x=500:y=20:fontsize=22:{LOOK}"),
    ];
    film(b, "match.mp4", 20, &lines);
}

fn events(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The descriptions that quote something: when it appeared, and what they say about it.
fn quoted(events: &[Value]) -> Vec<(f64, String)> {
    let quotes = events.iter().filter(|e| e["type"] == "caption" && e["screen_text"].is_array());
    let says =
        |e: &Value| e["text"].as_str().unwrap()[e["text"].as_str().unwrap().find("Text: ").unwrap()..].to_string();
    quotes.map(|e| (e["time"].as_f64().unwrap(), says(e))).collect()
}

#[test]
fn scores_and_titles_are_described_when_they_appear_and_clocks_are_not() {
    let b = Bench::new();
    match_film(&b);
    let args = ["live", "--realtime", "--text", "--min-score", "0", "match.mp4", "--jsonl"];
    let (once, never) = std::thread::scope(|scope| {
        let run = |more: &[&str]| b.run(&tiny(&[&args[..], more].concat()), 0).0;
        let never = scope.spawn(move || run(&["--text-static", "never", "--no-isolate", "--wait-for-pause", "0"]));
        (run(&["--vtt", "match.vtt", "--hls", "hls"]), never.join().unwrap())
    });
    for (out, logos) in [(&once, 1), (&never, 0)] {
        let events = events(out);
        let said = quoted(&events);
        // Which pictures of a line are read depends on how busy the machine is, and one may show a space too narrow to
        // be read: only the letters are compared.
        let letters = |text: &str| text.replace(' ', "");
        let quotes = |text: &str, what: &str| letters(text).contains(&letters(what));
        let count = |what: &str| said.iter().filter(|(_, text)| quotes(text, what)).count();
        let when =
            |what: &str| said.iter().find(|(_, text)| quotes(text, what)).unwrap_or_else(|| panic!("{said:?}")).0;
        assert_eq!((count("HOME 1 AWAY 0"), count("HOME 1 AWAY 1"), count("Half-time")), (1, 1, 1), "{said:?}");
        // With the scene in which it appears, or later on a machine that is busy.
        let times = ["HOME 1 AWAY 0", "Half-time", "HOME 1 AWAY 1"].map(when);
        assert!(times.is_sorted() && times[0] >= 5.5 && times[1] >= 7.5 && times[2] >= 13.5, "{said:?}");
        assert!(count("KANAL 5") == logos && count("10:00") <= logos, "{said:?}");
        // Every line is there once more, when it has gone.
        let gone: Vec<&Value> = events.iter().filter(|e| e["type"] == "text").collect();
        let lines: Vec<&Value> = gone.iter().flat_map(|e| e["screen_text"].as_array().unwrap()).collect();
        let kind =
            |what: &str| lines.iter().find(|l| l["text"].as_str().unwrap().contains(what)).unwrap()["kind"].clone();
        assert_eq!(
            (kind("Half-time"), kind("10:00"), kind("HOME")),
            ("title".into(), "counter".into(), "counter".into())
        );
        for line in &lines {
            assert!(
                line["start"].as_f64().unwrap() < line["end"].as_f64().unwrap()
                    && line["box"].as_array().unwrap().len() == 4
            );
            // What is less certain is not kept.
            assert!(line["confidence"].as_f64().unwrap() >= 0.75, "{line}");
        }
        assert!(events.iter().all(|e| e["type"] != "dropped"), "{out}");
    }
    let open =
        events(&once).into_iter().find(|e| e["text"].as_str().is_some_and(|text| text.contains("Half-time"))).unwrap();
    assert_eq!((&open["screen_text"][0]["end"], &open["screen_text"][0]["kind"]), (&Value::Null, &"title".into()));
    // What is written is escaped as what is described.
    let vtt = b.read("match.vtt");
    assert!(vtt.contains("Half-time &lt;b&gt;") && !vtt.contains("<b>"), "{vtt}");
    let segments = std::fs::read_dir(b.path("hls")).unwrap().flatten().map(|entry| entry.path());
    let hls: String = segments
        .filter(|p| p.extension().is_some_and(|e| e == "vtt"))
        .map(|p| std::fs::read_to_string(p).unwrap())
        .collect();
    assert!(hls.contains("Half-time &lt;b&gt;") && !hls.contains("<b>"), "{hls}");
}

#[test]
fn a_logo_is_not_described_again_after_a_new_connection_and_subtitles_never() {
    let b = Bench::new();
    let words = ["Good evening.", "I lost my key.", "Where were you?", "At the harbour."];
    let mut lines = vec![text(&b, "logo", "KANAL 5", "x=30:y=20:fontsize=28", "")];
    for n in 0..16 {
        let (from, until) = (2 * n, 2 * n + 1);
        let when = format!(r":enable=between(t\,{from}\,{until}.8)");
        lines.push(text(&b, &format!("w{n}"), words[n % 4], "x=(w-text_w)/2:y=310:fontsize=24", &when));
    }
    film(&b, "film.mp4", 32, &lines);
    let mount = format!(
        "/film=filesrc location={} ! qtdemux ! queue ! h264parse ! rtph264pay name=pay0 config-interval=1",
        b.path("film.mp4").display()
    );
    let server = Server::new(0, None, &[mount]);
    let proxy = Proxy::new(server.port);
    let folder = root().join("tests/models/tiny").display().to_string();
    let mut live = Live::new(&["--text", "--model", &folder, &proxy.url("/film")]);
    let quotes_logo = |e: &Value| e["type"] == "caption" && e["text"].as_str().is_some_and(|t| t.contains("KANAL 5"));
    let (_, from) = live.wait("logo", 0, quotes_logo);
    proxy.set(Mode::Truncate);
    let (_, from) = live.state(from, "null", &[]);
    proxy.set(Mode::Pass);
    let (_, from) = live.state(from, "playing", &[]);
    let is_subtitle = |e: &Value| {
        e["type"] == "text" && e["screen_text"].as_array().unwrap().iter().any(|line| line["kind"] == "subtitle")
    };
    live.wait("subtitles as data", from, is_subtitle);
    let (events, _) = live.stop();
    assert_eq!(events.iter().filter(|e| quotes_logo(e)).count(), 1, "{events:?}");
    let says = |e: &Value| words.iter().any(|word| e["text"].as_str().is_some_and(|text| text.contains(word)));
    assert!(!events.iter().any(says), "{events:?}");
}

#[test]
fn each_stream_may_be_read_or_not() {
    let b = Bench::new();
    let title = [text(&b, "title", "Welcome", "x=180:y=150:fontsize=48", r":enable=gte(t\,2)")];
    film(&b, "one.mp4", 6, &title);
    std::fs::copy(b.path("one.mp4"), b.path("two.mp4")).unwrap();
    b.write(
        "streams.toml",
        b"realtime = true\n[[stream]]\nurl = 'one.mp4'\ntext = true\n[[stream]]\nurl = 'two.mp4'\n",
    );
    let out = b.run(&tiny(&["live", "--config", "streams.toml", "--min-score", "0"]), 0).0;
    let of = |stream: &str| events(&out).into_iter().filter(|e| e["stream"] == stream).collect::<Vec<_>>();
    assert_eq!(quoted(&of("one.mp4")).len(), 1, "{out}");
    assert!(of("two.mp4").iter().all(|e| e["type"] != "text" && e["screen_text"].is_null()), "{out}");
    let (_, message) = b.run(&["live", "--realtime", "one.mp4", "--text-static", "never"], 2);
    assert!(message.contains("--text-static") && message.contains("--text"), "{message}");
    b.write("wrong.toml", b"text_static = 'twice'\n[[stream]]\nurl = 'rtsp://h/x'\n");
    let (_, message) = b.run(&["live", "--config", "wrong.toml"], 2);
    assert!(message.contains("wrong.toml:1: unknown variant"), "{message}");
}
