//! The film, its pictures and its sound, as the page gets them.

use std::process::Command;

use crate::common::Bench;
use crate::support::{Review, film};

fn probe(b: &Bench, name: &str, entry: &str) -> String {
    let args = ["-v", "error", "-show_entries", entry, "-of", "csv=p=0"];
    let out = Command::new("ffprobe").args(args).arg(b.path(name)).output().unwrap();
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn a_film_that_browsers_play_is_sent_in_parts() {
    let b = Bench::new();
    film(&b, "film.mp4");
    let bytes = std::fs::read(b.path("film.mp4")).unwrap();
    let review = Review::start(&b, &["film.mp4"]);
    assert_eq!(review.load()["film"]["playback"], "file");
    let head = format!("GET /film HTTP/1.1\r\nHost: {}\r\nRange: bytes=100-199", review.address);
    let (status, head, body) = review.send(&head, "");
    assert!(status == 206 && head.contains(&format!("bytes 100-199/{}", bytes.len())), "{head}");
    assert_eq!(body, bytes[100..200]);
    assert_eq!(review.get("/film").2, bytes);
}

#[test]
fn any_film_is_converted_from_any_time() {
    let b = Bench::new();
    film(&b, "film.mp4");
    b.ffmpeg("-i film.mp4 -c:v mpeg4 -c:a pcm_s16le film.avi");
    let review = Review::start(&b, &["film.avi"]);
    assert_eq!(review.load()["film"]["playback"], "preview");
    let (status, head, body) = review.get("/film.webm?from=2.5");
    assert!(status == 200 && head.contains("video/webm"), "{head}");
    b.write("part.webm", &body);
    assert_eq!(probe(&b, "part.webm", "stream=codec_name").split_whitespace().collect::<Vec<_>>(), ["vp8", "opus"]);
    let start: f64 = probe(&b, "part.webm", "format=start_time").trim().parse().unwrap();
    assert!((2.48..2.501).contains(&start), "{start}");
    // Every picture from there on, and as much sound.
    b.ffmpeg("-i part.webm -f null -");
    let times = probe(&b, "part.webm", "packet=pts_time,codec_type");
    let last = |kind: &str| {
        let of_kind = times.lines().filter(|line| line.starts_with(kind));
        of_kind.filter_map(|line| line.split(',').nth(1)?.parse::<f64>().ok()).fold(0.0, f64::max)
    };
    assert!((5.7..6.0).contains(&last("video")) && (5.7..6.1).contains(&last("audio")), "{times}");
    for bad in ["/film.webm", "/film.webm?from=x", "/film.webm?from=-1", "/film.webm?from=nan", "/film.webm?from=1e300"]
    {
        assert_eq!(review.get(bad).0, 400, "{bad}");
    }
}

#[test]
fn pictures_and_sound_are_there() {
    let b = Bench::new();
    film(&b, "film.mp4");
    let review = Review::start(&b, &["film.mp4"]);
    let loaded = review.load();
    let key = loaded["film"]["key"].as_str().unwrap();
    let (status, head, jpeg) = review.get(&format!("/picture/{key}/500.jpg"));
    assert_eq!((status, &jpeg[..2]), (200, &[0xff, 0xd8][..]));
    // Browsers keep it: what it shows never changes. Nothing else may be kept.
    let kept = head.to_ascii_lowercase();
    assert!(
        kept.contains("cache-control: private, max-age=31536000, immutable") && !kept.contains("no-store"),
        "{head}"
    );
    assert!(review.get("/api/review").1.to_ascii_lowercase().contains("cache-control: no-store"));
    let picture = image::load_from_memory(&jpeg).unwrap().to_rgb8();
    let [red, green, blue] = picture.get_pixel(picture.width() / 2, picture.height() / 2).0;
    assert!(red > 200 && green < 60 && blue < 60, "{red} {green} {blue}");
    for missing in ["999999.jpg", "-1.jpg", "1.png", "99999999999.jpg"] {
        let (status, head, _) = review.get(&format!("/picture/{key}/{missing}"));
        assert!(status == 404 && head.to_ascii_lowercase().contains("no-store"), "{missing}: {head}");
    }
    assert_eq!(review.get("/picture/000000000000000000000000/500.jpg").0, 404);
    let begun = std::time::Instant::now();
    let peaks = loop {
        let (_, head, peaks) = review.get("/waveform");
        assert!(head.contains("Descry-Rate: 20"), "{head}");
        if peaks.len() >= 118 {
            break peaks;
        }
        assert!(begun.elapsed().as_secs() < 20, "{}", peaks.len());
    };
    // FFmpeg's tone has an eighth of the full level.
    assert!(
        peaks.len() <= 122 && peaks[10..110].iter().all(|peak| (28..=36).contains(peak)),
        "{} {:?}",
        peaks.len(),
        &peaks[..20]
    );
}
