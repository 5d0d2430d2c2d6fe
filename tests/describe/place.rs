//! Descriptions in the pauses of speech, from the command line to the outputs.

use serde_json::Value;

use crate::common::{Bench, tiny};

/// A film of 24 s with a cut every 4 s, and lines that are spoken from 1 s to 9.5 s and from 13 s to 14 s.
fn film() -> Bench {
    let b = Bench::new();
    b.ffmpeg(
        "-f lavfi -i testsrc2=size=192x108:rate=25:duration=24,hue=h=137*floor(t/4):s=1+mod(floor(t/4)\\,2)*3 \
         -c:v libx264 -preset ultrafast film.mp4",
    );
    let srt = "1\n00:00:01,000 --> 00:00:09,500\nA long speech.\n\n2\n00:00:13,000 --> 00:00:14,000\nYes.\n\n";
    b.write("film.srt", srt.as_bytes());
    b
}

const LINES: [(f64, f64); 2] = [(1.0, 9.5), (13.0, 14.0)];

fn describe(b: &Bench, args: &[&str]) -> Value {
    let fixed = ["describe", "film.mp4", "-f", "json", "-o", "-", "--no-dedup", "--min-score", "0"];
    let (out, _) = b.run(&tiny(&[&fixed[..], args].concat()), 0);
    serde_json::from_str(&out).unwrap()
}

fn times(list: &Value) -> Vec<(f64, f64)> {
    let time = |entry: &Value, name: &str| entry[name].as_f64().unwrap();
    list.as_array().unwrap().iter().map(|entry| (time(entry, "start"), time(entry, "end"))).collect()
}

fn over_lines(cues: &[(f64, f64)]) -> f64 {
    let within = |a: &(f64, f64), b: &(f64, f64)| (a.1.min(b.1) - a.0.max(b.0)).max(0.0);
    cues.iter().flat_map(|cue| LINES.iter().map(move |line| within(cue, line))).sum()
}

#[test]
fn descriptions_stand_in_pauses() {
    let b = film();
    let free = describe(&b, &["--dialogue", "film.srt", "--place", "free"]);
    assert!(
        over_lines(&times(&free["cues"])) > 5.0 && free["placement"].is_null() && free["options"]["place"].is_null()
    );
    let usual = describe(&b, &["--dialogue", "film.srt"]);
    assert_eq!((&usual["options"]["place"]["rule"], usual["placement"].is_null()), (&"pauses".into(), false));
    let strict = describe(&b, &["--dialogue", "film.srt", "--place", "strict"]);
    let cues = times(&strict["cues"]);
    assert!(over_lines(&cues) == 0.0 && cues.iter().any(|cue| cue.0 > 14.0), "{cues:?}");
    assert_eq!(cues, times(&strict["placement"]["placed"]));
    // The scenes from 4 s to 8 s have no pause.
    let unplaced = strict["placement"]["unplaced"].as_array().unwrap();
    assert!(unplaced.iter().any(|scene| scene["reason"] == "no pause" && scene["start"] == 4.0), "{unplaced:?}");
    assert_eq!(strict["options"]["place"]["rule"], "strict");
    assert_eq!(strict["scenes"], free["scenes"]);
}

#[test]
fn the_film_pauses_for_extended_descriptions() {
    let b = film();
    let srt = "1\n00:00:01,000 --> 00:00:03,500\nA long\n\n2\n00:00:03,800 --> 00:00:09,500\nspeech.\n\n";
    b.write("talk.srt", srt.as_bytes());
    let usual = describe(&b, &["--dialogue", "talk.srt", "--place", "strict"]);
    let left_out = |json: &Value| {
        let unplaced = json["placement"]["unplaced"].as_array().unwrap();
        unplaced.iter().find(|scene| scene["start"] == 4.0 && scene["reason"] == "no pause").cloned()
    };
    let scene = left_out(&usual).expect("a scene without a pause");
    let args = ["--dialogue", "talk.srt", "--place", "strict", "--extended"];
    let json = describe(&b, &args);
    assert!(json["options"]["place"]["extended"] == true && left_out(&json).is_none());
    let placed = json["placement"]["placed"].as_array().unwrap();
    let extended =
        placed.iter().find(|cue| cue["extended"] == true && cue["scenes"][0] == 1).expect("an extended description");
    // Just before the scene, where nobody talks, and whole.
    assert_eq!((&extended["start"], &extended["end"], &extended["overlap"]), (&3.5.into(), &3.8.into(), &0.0.into()));
    assert!(extended["text"] == scene["text"] && extended["pause"].as_f64().unwrap() > 0.5, "{extended}");
    assert!(placed.iter().all(|cue| (cue["extended"] == true) == (cue["pause"].as_f64().unwrap() > 0.0)));

    // A player finds it in one cue.
    let vtt = [&["describe", "film.mp4", "-o", "-", "--no-dedup", "--min-score", "0"], &args[..]].concat();
    let (vtt, _) = b.run(&tiny(&vtt), 0);
    let (_, cue) = vtt.split_once("00:00:03.500 --> 00:00:03.800\n").expect("its cue");
    let text = cue.split("\n\n").next().unwrap().trim_end().replace('\n', " ");
    assert_eq!(text, extended["text"].as_str().unwrap());

    let (_, err) = b.run(&tiny(&["describe", "film.mp4", "-o", "x.vtt", "--extended", "--place", "free"]), 2);
    assert!(err.contains("--extended") && err.contains("--place pauses"), "{err}");
}

#[test]
fn placement_is_the_same_for_any_number_of_threads_and_batch() {
    let b = film();
    let place = |args: &[&str]| describe(&b, &[&["--dialogue", "film.srt", "--place", "pauses"], args].concat());
    let one = place(&["--decode-threads", "1", "--model-threads", "1", "--batch", "1"]);
    assert!(!one["placement"]["placed"].as_array().unwrap().is_empty());
    assert_eq!(place(&["--decode-threads", "3", "--batch", "16"]), one);
}

/// Neither a film without audio nor one that nobody listens to has a constraint.
#[test]
fn without_anything_that_tells_speech_cues_are_as_long_as_their_scenes() {
    let b = film();
    let free = describe(&b, &["--place", "free"]);
    for args in [&[][..], &["--place", "strict"]] {
        let json = describe(&b, args);
        assert!(json["placement"].is_null());
        assert_eq!(json["cues"], free["cues"]);
    }
    b.ffmpeg("-i film.mp4 -f lavfi -i anullsrc=r=16000 -map 0:v -map 1:a -t 24 -c:v copy -c:a aac sound.mp4");
    std::fs::rename(b.path("sound.mp4"), b.path("film.mp4")).unwrap();
    let unheard = describe(&b, &["--audio", "none"]);
    assert!(unheard["placement"].is_null());
    assert_eq!(unheard["cues"], free["cues"]);
    // Nobody talks, and descriptions are as long as it takes to speak them.
    let heard = describe(&b, &[]);
    assert_eq!(
        (&heard["options"]["place"]["rule"], &heard["speech"]["segments"]),
        (&"pauses".into(), &Value::Array(vec![]))
    );
    let (placed, scenes) = (times(&heard["placement"]["placed"]), times(&heard["scenes"]));
    assert!(!placed.is_empty() && placed == times(&heard["cues"]), "{placed:?}");
    assert!(placed.iter().all(|cue| scenes.iter().any(|scene| cue.0 - scene.0 >= -2.0 && cue.1 - scene.1 <= 2.0)));
}
