//! Clips that FFmpeg makes from the samples, and races between programs. Their runs alternate, so that a busy machine slows
//! all of them.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Length of one shot of a clip, in seconds.
const SHOT: usize = 4;
/// The source of each shot: sample, second, and the left and top of the window as a share of the picture.
const SHOTS: [(&str, f32, f32, f32); 15] = [
    ("bikes.mp4", 0.6, 0.0, 0.0),
    ("bigbuckbunny.mp4", 0.4, 0.0, 0.0),
    ("bikes.mp4", 2.4, 0.4, 0.4),
    ("bigbuckbunny.mp4", 4.8, 0.4, 0.0),
    ("bikes.mp4", 4.2, 0.2, 0.0),
    ("bikes.mp4", 6.4, 0.0, 0.4),
    ("bigbuckbunny.mp4", 2.4, 0.4, 0.4),
    ("bikes.mp4", 8.6, 0.4, 0.0),
    ("bikes.mp4", 1.4, 0.4, 0.2),
    ("bigbuckbunny.mp4", 1.4, 0.2, 0.3),
    ("bikes.mp4", 5.4, 0.4, 0.4),
    ("bikes.mp4", 3.6, 0.0, 0.4),
    ("bigbuckbunny.mp4", 3.6, 0.0, 0.4),
    ("bikes.mp4", 7.4, 0.2, 0.3),
    ("bikes.mp4", 9.6, 0.0, 0.1),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn ffmpeg(args: &str) -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-y"]).args(args.split_whitespace());
    command.stdout(Stdio::null());
    command
}

fn made(command: &mut Command) {
    let status = command.status().expect("ffmpeg is installed: run `make bench`");
    assert!(status.success(), "{command:?}");
}

/// One minute of 1080p30 H.264 with a cut every 4 s and light grain. Shots alternate between a moving and a fixed camera. The
/// first run creates the clip.
pub(crate) fn minute() -> PathBuf {
    let folder = root().join("target/bench");
    std::fs::create_dir_all(&folder).expect("a folder under target");
    let clip = folder.join("film-1080p30.mp4");
    if clip.exists() {
        return clip;
    }
    let mut list = String::new();
    for (n, (sample, second, left, top)) in SHOTS.iter().enumerate() {
        let (still, shot) = (folder.join(format!("{n}.png")), folder.join(format!("{n}.mp4")));
        let sample = root().join("samples").join(sample);
        made(ffmpeg(&format!("-ss {second} -i {}", sample.display())).args([
            "-frames:v",
            "1",
            "-vf",
            &format!("crop=iw*0.6:ih*0.6:iw*{left}:ih*{top},scale=2400:1350,setsar=1"),
            &still.display().to_string(),
        ]));
        let camera = if n % 2 == 0 { "z='1+0.0015*on':x='on*0.8':y='on*0.4'" } else { "z=1.2:x=60:y=30" };
        made(
            ffmpeg(&format!("-i {}", still.display()))
                .args([
                    "-vf",
                    &format!("zoompan={camera}:d={}:s=1920x1080:fps=30,noise=alls=4:allf=t,format=yuv420p", 30 * SHOT),
                ])
                .args("-c:v libx264 -preset veryfast -crf 21 -g 250".split(' '))
                .arg(&shot),
        );
        list += &format!("file '{}'\n", shot.display());
    }
    let names = folder.join("list.txt");
    std::fs::write(&names, list).expect("a list of shots");
    // Encode the shots again as one film, so that cuts fall anywhere in a group of pictures.
    let part = folder.join("part.mp4");
    made(
        ffmpeg(&format!("-f concat -safe 0 -i {}", names.display()))
            .args("-c:v libx264 -preset medium -crf 23 -g 250 -movflags +faststart".split(' '))
            .arg(&part),
    );
    std::fs::rename(&part, &clip).expect("a clip under target");
    clip
}

/// The same minute as cameras send it: 720p25, a keyframe every 2 s, no B-frames.
pub(crate) fn minute_as_a_camera() -> PathBuf {
    let minute = minute();
    let clip = minute.with_file_name("camera-720p25.mp4");
    if !clip.exists() {
        let part = minute.with_file_name("part.mp4");
        made(
            ffmpeg(&format!("-i {} -r 25 -vf scale=1280:720", minute.display()))
                .args(
                    "-an -c:v libx264 -preset veryfast -tune zerolatency -b:v 3M -g 50 -movflags +faststart".split(' '),
                )
                .arg(&part),
        );
        std::fs::rename(&part, &clip).expect("a clip under target");
    }
    clip
}

/// The same minute, repeated `n` times.
pub(crate) fn minutes(n: usize) -> PathBuf {
    again(&minute(), n)
}

/// A clip of a minute, repeated `n` times.
pub(crate) fn again(minute: &Path, n: usize) -> PathBuf {
    let name = minute.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let clip = minute.with_file_name(format!("{n}-minutes-of-{name}"));
    if !clip.exists() {
        let part = minute.with_file_name("part.mp4");
        made(
            ffmpeg(&format!("-stream_loop {} -i {} -c copy -movflags +faststart", n - 1, minute.display())).arg(&part),
        );
        std::fs::rename(&part, &clip).expect("a clip under target");
    }
    clip
}

/// A contestant: its name and one run of it.
pub(crate) type Runner<'a> = (&'a str, Box<dyn FnMut() + 'a>);

/// Runs all contestants in turn, `rounds` times after one round that warms the caches. Returns the median seconds of each.
pub(crate) fn race(rounds: usize, runners: &mut [Runner]) -> Vec<f64> {
    let mut taken = vec![Vec::new(); runners.len()];
    for round in 0..=rounds {
        for (times, (_, run)) in taken.iter_mut().zip(runners.iter_mut()) {
            let started = Instant::now();
            run();
            if round > 0 {
                times.push(started.elapsed().as_secs_f64());
            }
        }
    }
    let medians: Vec<f64> = taken.iter_mut().map(|t| median(t)).collect();
    for ((name, _), (m, t)) in runners.iter().zip(medians.iter().zip(&taken)) {
        println!("{name:52} {m:7.2} s   ({:.2} to {:.2})", t[0], t[t.len() - 1]);
    }
    medians
}

pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub(crate) fn run(command: &mut Command) {
    let out = command.stderr(Stdio::inherit()).stdout(Stdio::null()).status().expect("the program starts");
    assert!(out.success(), "{command:?}");
}

/// Prints a ratio and the least that it should be.
pub(crate) fn verdict(what: &str, value: f64, least: f64) {
    println!("{what:52} {value:7.2}     (at least {least}) {}", if value >= least { "ok" } else { "TOO LOW" });
}
