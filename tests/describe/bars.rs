//! Black bars: captions and embeddings do not depend on them, whatever reads the pictures, unless they are to stay.

use std::process::Command;
use std::sync::Mutex;

use descry::interrupt::Interrupt;
use descry::media::{Bars, DecodeOptions, Frame, Rgb, Source};
use descry::model::{Model, ModelFolder, ModelOptions, Models};
use descry::pipeline::{Config, Job, KeyframeRecord, KeyframeSink, Silent, run};
use serde_json::Value;

use crate::common::model_server::{ModelServer, Reply};
use crate::common::{Bench, TINY, root, sample, tiny};

/// Four seconds of bikes.mp4, one picture each, without loss. `filter` ends in a comma.
fn film(b: &Bench, name: &str, filter: &str) {
    let input = sample("bikes.mp4");
    b.ffmpeg(&format!("-i {input} -vf fps=1,{filter}fps=12,format=yuv420p -t 4 -c:v ffv1 {name}"));
}

const LETTERBOX: &str = "pad=640:360:0:44,";
const WINDOWBOX: &str = "pad=800:400:80:64,";

fn texts(b: &Bench, name: &str, args: &[&str]) -> Vec<String> {
    let all = [&["describe", name, "-o", "-", "-f", "json", "--no-dedup"], args].concat();
    let track: Value = serde_json::from_str(&b.run(&all, 0).0).unwrap();
    let scenes = track["scenes"].as_array().unwrap().iter();
    scenes.map(|s| s["text"].as_str().unwrap_or("none").to_string()).collect()
}

/// The embeddings of pictures, in order.
fn embed(b: &Bench, args: &[&str]) -> Vec<Vec<f64>> {
    let (out, _) = b.run(&[&["embed"], args].concat(), 0);
    let vector = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap();
        value["embedding"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    };
    out.lines().map(vector).collect()
}

fn cosine<T: Copy + Into<f64>>(a: &[T], b: &[T]) -> f64 {
    a.iter().zip(b).map(|(&x, &y)| x.into() * y.into()).sum()
}

#[test]
fn captions_of_a_film_do_not_depend_on_its_bars() {
    let b = Bench::new();
    film(&b, "plain.mkv", "");
    let plain = texts(&b, "plain.mkv", &[]);
    assert!(plain.len() >= 2, "{plain:?}");
    for (name, bars) in [("letterbox.mkv", LETTERBOX), ("windowbox.mkv", WINDOWBOX)] {
        film(&b, name, bars);
        assert_eq!(texts(&b, name, &[]), plain, "{name}");
        assert_ne!(texts(&b, name, &["--keep-bars"]), plain, "{name}");
    }
    assert_eq!(texts(&b, "plain.mkv", &["--keep-bars"]), plain, "without bars there is nothing to keep");
}

/// Collects embeddings.
#[derive(Default)]
struct Embeddings(Mutex<Vec<Vec<f32>>>);

impl KeyframeSink for Embeddings {
    fn scene(&self, _: usize, keyframe: KeyframeRecord) -> descry::error::Result<()> {
        self.0.lock().unwrap().extend(keyframe.embedding);
        Ok(())
    }
}

fn film_embeddings(b: &Bench, name: &str, bars: Bars) -> Vec<Vec<f32>> {
    let models = Models::from(ModelFolder::load(None).unwrap());
    let config = Config { bars, ..Config::of_models(&models) };
    let (sink, inputs) = (Embeddings::default(), [b.path(name).display().to_string().into()]);
    let job = Job {
        inputs: &inputs,
        config: &config,
        model: Model::of(&models, ModelOptions::default()).unwrap(),
        interrupt: &Interrupt::new(),
        observer: &Silent,
        sink: Some(&sink),
    };
    run(job, |_, outcome| assert!(outcome.error.is_none(), "{:?}", outcome.error)).unwrap();
    sink.0.into_inner().unwrap()
}

#[test]
fn embeddings_of_a_film_do_not_depend_on_its_bars() {
    let b = Bench::new();
    film(&b, "plain.mkv", "");
    film(&b, "windowbox.mkv", WINDOWBOX);
    let plain = film_embeddings(&b, "plain.mkv", Bars::Crop);
    let (cropped, kept) =
        (film_embeddings(&b, "windowbox.mkv", Bars::Crop), film_embeddings(&b, "windowbox.mkv", Bars::Keep));
    assert!(plain.len() >= 2 && plain.len() == cropped.len() && plain.len() == kept.len());
    for ((plain, cropped), kept) in plain.iter().zip(&cropped).zip(&kept) {
        let (with, without) = (cosine(plain, cropped), cosine(plain, kept));
        assert!(with > 0.99 && without < 0.95, "{with} {without}");
    }
}

fn first_frame(b: &Bench, name: &str) -> Frame {
    let path = b.path(name).display().to_string();
    Source::open(&path.into(), &DecodeOptions::default(), Interrupt::new()).unwrap().next().unwrap().unwrap()
}

/// A frame is cropped before it is scaled, so no row or column mixes the picture with a bar.
#[test]
fn a_frame_between_bars_gives_the_pixels_of_one_without() {
    let b = Bench::new();
    let input = format!("-i {} -frames:v 1", sample("bikes.mp4"));
    let formats = ["yuv420p", "yuv422p10le", "yuv444p", "gray", "bgr0", "gbrp"];
    for (n, more) in formats.iter().map(|f| format!("format={f}")).chain(["setsar=4/3".into()]).enumerate() {
        b.ffmpeg(&format!("{input} -vf {more} -c:v ffv1 plain{n}.mkv"));
        b.ffmpeg(&format!("{input} -vf {more},pad=800:400:80:64 -c:v ffv1 bars{n}.mkv"));
        let (plain, bars) = (first_frame(&b, &format!("plain{n}.mkv")), first_frame(&b, &format!("bars{n}.mkv")));
        for longest in [1280, 400, 321] {
            let whole = bars.to_rgb_within(longest).unwrap();
            let inside = bars.to_rgb_inside(Bars::Crop, &whole, longest).unwrap().expect("there are bars");
            let wanted = plain.to_rgb_within(longest).unwrap();
            // Not assert_eq, which prints every pixel.
            assert!(inside == wanted, "{more} {longest}: {} × {}", inside.width, inside.height);
            assert!(bars.to_rgb_inside(Bars::Keep, &whole, longest).unwrap().is_none());
            assert!(plain.to_rgb_inside(Bars::Crop, &wanted, longest).unwrap().is_none());
        }
    }
}

/// The edges of bars are found in half of the size. Neither is a multiple of two.
#[test]
fn large_frames_are_cropped_too() {
    let b = Bench::new();
    b.ffmpeg("-f lavfi -i testsrc=size=3841x1609 -frames:v 1 -vf format=yuv444p,pad=3841:2161:0:276 -c:v ffv1 4k.mkv");
    let frame = first_frame(&b, "4k.mkv");
    let inside = frame.to_rgb_inside(Bars::Crop, &frame.to_rgb().unwrap(), 8000).unwrap().expect("there are bars");
    assert_eq!(inside.width, 3841);
    assert!((1607..=1611).contains(&inside.height), "{}", inside.height);
}

#[test]
fn turned_and_interlaced_frames_are_cropped_too() {
    let b = Bench::new();
    let input = sample("bikes.mp4");
    b.ffmpeg(&format!("-i {input} -frames:v 2 -vf pad=640:360:0:44 -c:v libx264 -qp 0 flat.mp4"));
    b.ffmpeg("-i flat.mp4 -c copy -metadata:s:v:0 rotate=90 turned.mp4");
    b.ffmpeg(&format!("-i {input} -frames:v 2 -vf pad=640:360:0:44,setfield=tff -c:v ffv1 -flags +ildct fields.mkv"));
    let inside = |name: &str| -> Rgb {
        let frame = first_frame(&b, name);
        frame.to_rgb_inside(Bars::Crop, &frame.to_rgb().unwrap(), 1280).unwrap().expect("there are bars")
    };
    let sizes = ["flat.mp4", "turned.mp4", "fields.mkv"].map(|name| (inside(name).width, inside(name).height));
    assert_eq!(sizes, [(640, 272), (272, 640), (640, 272)]);
}

#[test]
fn still_pictures_are_cropped_exactly() {
    let b = Bench::new();
    let picture = sample("bikes-00-04.jpg");
    b.ffmpeg(&format!("-i {picture} -vf format=rgb24 plain.png"));
    b.ffmpeg("-i plain.png -vf pad=iw+160:ih+90:80:45 bars.png");
    let [plain, bars, kept] =
        [&["plain.png"][..], &["bars.png"], &["bars.png", "--keep-bars"]].map(|args| embed(&b, args));
    assert_eq!(plain, bars);
    assert!(cosine(&plain[0], &kept[0]) < 0.97, "{}", cosine(&plain[0], &kept[0]));
    let caption = |args: &[&str]| {
        let (out, _) = b.run(&[&["caption", "--min-score", "0"], args].concat(), 0);
        out.trim().split_once('\t').unwrap().1.to_string()
    };
    assert_eq!(caption(&["plain.png"]), caption(&["bars.png"]));
    b.run(&["embed", "--text", "--keep-bars"], 2);
}

/// Every model gets the same pictures, so what a server gets stands for all of them. Bars take no resolution: a picture is
/// as large as if the film had none.
#[test]
fn a_server_gets_pictures_without_bars_in_full_size() {
    let b = Bench::new();
    b.ffmpeg(
        "-f lavfi -i testsrc=size=1440x1080:rate=5:duration=1 -vf pad=1920:1080:240:0,format=yuv420p -c:v ffv1 film.mkv",
    );
    b.ffmpeg("-i film.mkv -frames:v 1 film.png");
    let server = ModelServer::new(|_, _| Reply::text("A test card."));
    let (model, embedder) = (server.model(), root().join(TINY).display().to_string());
    let sizes = |args: &[&str]| {
        let before = server.asked().len();
        let usual = ["--model", &model, "--model-name", "m", "--embedder", &embedder];
        let out = Command::new(env!("CARGO_BIN_EXE_descry")).args(args).args(usual).current_dir(b.path(".")).output();
        let out = out.unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let asked = server.asked();
        asked[before..].iter().map(|asked| asked.picture().dimensions()).collect::<Vec<_>>()
    };
    let whole = [(800, 450)];
    for command in [&["describe", "film.mkv", "-o", "-"][..], &["caption", "film.png"]] {
        let command = [command, &["--picture-size", "800"]].concat();
        assert_eq!(sizes(&command), [(800, 600)], "{command:?}");
        assert_eq!(sizes(&[&command[..], &["--keep-bars"]].concat()), whole, "{command:?}");
    }
}

#[test]
fn an_archive_knows_whether_bars_were_kept() {
    let b = Bench::new();
    film(&b, "film.mkv", LETTERBOX);
    let index = |args: &[&str]| b.run(&tiny(&[&["index", "film.mkv", "--into", "archive"], args].concat()), 0).0;
    index(&[]);
    assert_eq!(index(&["--plan"]), "");
    assert!(index(&["--plan", "--keep-bars"]).contains("film.mkv"));
    // A picture that is searched for is treated as the archive's were.
    b.ffmpeg("-i film.mkv -frames:v 1 query.png");
    let score = |args: &[&str]| {
        let all = [&["search", "archive", "--image", "query.png", "--json", "--limit", "1"], args].concat();
        let moment: Value = serde_json::from_str(b.run(&tiny(&all), 0).0.lines().next().unwrap()).unwrap();
        moment["score"].as_f64().unwrap()
    };
    assert!(score(&[]) > score(&["--keep-bars"]));
}
