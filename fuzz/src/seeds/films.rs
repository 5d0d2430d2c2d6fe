//! Films of a few small frames: one for each video encoder and each container that FFmpeg's program has, and playlists.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, ensure};

use super::{Seed, root};

/// Programs at a time.
const THREADS: usize = 2;
/// Needs a screen, a device or the network, or writes many files.
const NOT_CONTAINERS: [&str; 22] = [
    "alsa",
    "oss",
    "pulse",
    "sdl",
    "sdl2",
    "opengl",
    "xv",
    "caca",
    "fbdev",
    "video4linux2",
    "v4l2",
    "decklink",
    "rtsp",
    "rtp",
    "rtp_mpegts",
    "sap",
    "tee",
    "fifo",
    "fifo_test",
    "segment",
    "stream_segment",
    "ssegment",
];

/// All films.
///
/// # Errors
/// FFmpeg's program is missing.
pub(super) fn all() -> Result<Vec<Seed>> {
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("source.nut");
    // A cut in the middle. Raw frames are coded by each encoder in turn.
    let made = ffmpeg(
        "-f lavfi -i testsrc2=size=64x36:rate=10:duration=0.4 -f lavfi -i mandelbrot=size=64x36:rate=10 \
         -filter_complex [1]trim=end_frame=4[b];[0][b]concat=n=2,format=yuv420p -c:v rawvideo",
        &source,
    );
    ensure!(made, "FFmpeg's program cannot make a film: install Debian's package ffmpeg");
    let mut jobs = Vec::new();
    for encoder in listed("-encoders", |flags| flags.starts_with('V'))? {
        jobs.push((format!("codec-{encoder}"), format!("-c:v {encoder} -strict -2 -f nut")));
    }
    for muxer in listed("-muxers", |flags| flags.contains('E'))? {
        if !NOT_CONTAINERS.contains(&muxer.as_str()) {
            jobs.push((format!("format-{muxer}"), format!("-strict -2 -f {muxer}")));
        }
    }
    for (name, options) in VARIANTS {
        jobs.push((name.to_string(), options.to_string()));
    }
    let mut seeds = run(jobs, &source, folder.path());
    seeds.extend(samples()?);
    seeds.extend(PLAYLISTS.map(|(name, text)| (name.to_string(), text.as_bytes().to_vec())));
    seeds.sort();
    Ok(seeds)
}

/// What the defaults do not reach.
const VARIANTS: [(&str, &str); 14] = [
    ("mp4-fragments", "-c:v libx264 -g 2 -movflags frag_keyframe+empty_moov -f mp4"),
    ("mp4-rotated", "-c:v mpeg4 -metadata:s:v rotate=90 -f mp4"),
    ("mp4-10-bit", "-c:v libx265 -pix_fmt yuv420p10le -x265-params log-level=none -f mp4"),
    ("mp4-interlaced", "-c:v libx264 -flags +ildct+ilme -aspect 4:3 -f mp4"),
    ("mp4-sound", "-f lavfi -i sine=duration=0.3 -c:v libx264 -c:a aac -ac 2 -f mp4"),
    ("ts-sound", "-f lavfi -i sine=duration=0.3 -c:v mpeg2video -c:a mp2 -f mpegts"),
    ("mkv-open-gop", "-c:v mpeg2video -bf 2 -g 6 -f matroska"),
    ("mkv-alpha", "-c:v ffv1 -pix_fmt yuva420p -f matroska"),
    ("mkv-16-bit", "-c:v ffv1 -pix_fmt gray16le -f matroska"),
    ("webm-lossless", "-c:v libvpx-vp9 -lossless 1 -f webm"),
    ("ts-two-programs", "-c:v mpeg2video -f mpegts -mpegts_flags resend_headers"),
    ("avi-raw", "-c:v rawvideo -pix_fmt bgr24 -f avi"),
    ("mov-palette", "-c:v qtrle -pix_fmt pal8 -f mov"),
    ("mjpeg-444", "-c:v mjpeg -pix_fmt yuvj444p -f mjpeg"),
];

const PLAYLISTS: [(&str, &str); 6] = [
    (
        "list.m3u8",
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\nother.ts\n#EXTINF:1.5,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    ),
    (
        "master.m3u8",
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1280000,RESOLUTION=64x36\nlow.m3u8\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"b\",URI=\"c.m3u8\"\n",
    ),
    (
        "keys.m3u8",
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-KEY:METHOD=AES-128,URI=\"data:text/plain,0123456789abcdef\",IV=0x1\n#EXT-X-MAP:URI=\"init.mp4\",BYTERANGE=\"100@0\"\n#EXTINF:2,\n#EXT-X-BYTERANGE:75@0\nfilm\n#EXT-X-ENDLIST\n",
    ),
    (
        "manifest.mpd",
        "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\" mediaPresentationDuration=\"PT2S\"><Period><AdaptationSet contentType=\"video\"><Representation id=\"0\" bandwidth=\"9\"><BaseURL>film</BaseURL><SegmentList duration=\"1\"><Initialization sourceURL=\"film\"/><SegmentURL media=\"film\"/></SegmentList></Representation></AdaptationSet></Period></MPD>",
    ),
    ("list.ffconcat", "ffconcat version 1.0\nfile film\nduration 0.4\nfile 'file:/etc/passwd'\ninpoint 0.1\n"),
    (
        "session.sdp",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    ),
];

/// The beginnings of the samples.
fn samples() -> Result<Vec<Seed>> {
    let mut seeds = Vec::new();
    for path in super::paths("samples")? {
        if path.extension().is_some_and(|e| e == "mp4" || e == "webm" || e == "mkv") {
            let mut bytes = fs::read(&path)?;
            bytes.truncate(90 << 10);
            seeds.push((format!("begin-{}", path.file_name().unwrap_or_default().to_string_lossy()), bytes));
        }
    }
    ensure!(seeds.len() >= 5, "the samples in {} are gone", root().display());
    Ok(seeds)
}

/// Names in a list of FFmpeg's, by their flags.
fn listed(list: &str, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let out = Command::new("ffmpeg").args(["-hide_banner", list]).output().context("ffmpeg")?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let rows = text.lines().skip_while(|line| !line.trim().starts_with("--")).skip(1);
    let names = rows.filter_map(|line| {
        let mut words = line.split_whitespace();
        let (flags, name) = (words.next()?, words.next()?);
        wanted(flags).then(|| name.split(',').next().unwrap_or(name).to_string())
    });
    Ok(names.collect())
}

/// Makes a film for each job; encoders of hardware, and containers of sound alone, make none.
fn run(jobs: Vec<(String, String)>, source: &Path, folder: &Path) -> Vec<Seed> {
    let (jobs, made) = (Mutex::new(jobs.into_iter()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let Some((name, options)) = jobs.lock().expect("no panic").next() else { break };
                    let to = folder.join(&name);
                    let done = ffmpeg(&format!("-i {} {options}", source.display()), &to);
                    if let (true, Ok(bytes)) = (done, fs::read(&to))
                        && !bytes.is_empty()
                    {
                        made.lock().expect("no panic").push((name, bytes));
                    }
                }
            });
        }
    });
    made.into_inner().expect("no panic")
}

fn ffmpeg(arguments: &str, to: &Path) -> bool {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "quiet", "-nostdin", "-y", "-threads", "1", "-fflags", "+bitexact"]);
    command.args(arguments.split_whitespace()).args(["-an", "-flags", "+bitexact", "-threads", "1"]).arg(to);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
