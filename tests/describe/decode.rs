//! Decoding against FFmpeg's own tools: times, shapes and pixels.

use crate::common::Bench;
use descry::interrupt::Interrupt;
use descry::media::Rgb;
use descry::media::{DecodeOptions, DecodedFrames, Frame, Source};
use descry::time::Time;

fn frames(bench: &Bench, name: &str, options: &DecodeOptions) -> (Vec<Frame>, Source) {
    let path = bench.path(name).display().to_string();
    let mut source = Source::open(&path.into(), options, Interrupt::new()).unwrap();
    let mut out = Vec::new();
    while let Some(frame) = source.next().unwrap() {
        out.push(frame);
    }
    (out, source)
}

fn assert_times(bench: &Bench, name: &str) {
    let (got, source) = frames(bench, name, &DecodeOptions::default());
    let want = bench.frame_times(name);
    assert!(source.damage().is_clean(), "{name}: {}", source.damage());
    assert_eq!(got.len(), want.len(), "{name}");
    for (g, w) in got.iter().zip(&want) {
        // ffprobe prints the start and each time with six digits: each may be off by half a microsecond.
        assert!((g.time.micros() - w).abs() <= 2, "{name}: {} {w}", g.time.micros());
    }
}

#[test]
fn times_match_the_container() {
    let b = Bench::new();
    let src = "-f lavfi -i testsrc2=size=192x108:rate=25:duration=2";
    b.ffmpeg(&format!("{src} -c:v libx264 -bf 3 bframes.mp4"));
    b.ffmpeg(&format!("{src} -c:v libx264 -output_ts_offset 7.3 offset.ts"));
    b.ffmpeg(&format!("{src} -vf select='not(mod(n\\,3))+not(mod(n\\,7))' -vsync vfr -c:v libx264 vfr.mkv"));
    b.ffmpeg("-f lavfi -i testsrc2=size=192x108:rate=30000/1001:duration=2 -c:v mpeg4 ntsc.avi");
    for name in ["bframes.mp4", "offset.ts", "vfr.mkv", "ntsc.avi"] {
        assert_times(&b, name);
    }
}

#[test]
fn start_and_end_are_exact() {
    let b = Bench::new();
    b.ffmpeg("-f lavfi -i testsrc2=size=192x108:rate=25:duration=6 -c:v libx264 -g 50 clip.mp4");
    let options = DecodeOptions {
        start: Some(Time::from_millis(2_500)),
        end: Some(Time::from_millis(4_000)),
        ..DecodeOptions::default()
    };
    let (got, _) = frames(&b, "clip.mp4", &options);
    let all: Vec<i64> = b.frame_times("clip.mp4").into_iter().filter(|t| (2_500_000..4_000_000).contains(t)).collect();
    assert_eq!(got.iter().map(|f| f.time.micros()).collect::<Vec<_>>(), all);
}

#[test]
fn pictures_are_upright_with_square_pixels() {
    let b = Bench::new();
    b.ffmpeg("-f lavfi -i testsrc2=size=192x108:rate=25:duration=0.2 -c:v libx264 flat.mp4");
    for degrees in [90, 180, 270] {
        b.ffmpeg(&format!("-i flat.mp4 -c copy -metadata:s:v:0 rotate={degrees} turned.mp4"));
        b.ffmpeg("-i turned.mp4 -frames:v 1 -pix_fmt rgb24 -f rawvideo turned.rgb");
        let want = std::fs::read(b.path("turned.rgb")).unwrap();
        let (got, source) = frames(&b, "turned.mp4", &DecodeOptions::default());
        // This FFmpeg writes the rotation counter-clockwise. The pixels below decide.
        assert_eq!(source.info().rotation, 360 - degrees);
        let rgb = got[0].to_rgb().unwrap();
        assert_eq!((rgb.width, rgb.height), if degrees == 180 { (192, 108) } else { (108, 192) });
        let mean = rgb.data.iter().zip(&want).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / want.len() as f64;
        assert!(mean < 4.0, "{degrees}: {mean}");
    }
    b.ffmpeg("-f lavfi -i testsrc2=size=180x144:rate=25:duration=0.2 -vf setsar=16/9 -c:v libx264 wide.mp4");
    let (got, _) = frames(&b, "wide.mp4", &DecodeOptions::default());
    let rgb = got[0].to_rgb().unwrap();
    assert_eq!((rgb.width, rgb.height), (320, 144));
}

/// How far each line is from the mean of its neighbours. Interlaced motion makes this large.
fn combing(rgb: &Rgb) -> f64 {
    let line = rgb.width as usize * 3;
    let rows: Vec<&[u8]> = rgb.data.chunks_exact(line).collect();
    let sum: u64 = rows
        .windows(3)
        .flat_map(|w| {
            (0..line).map(|x| (2 * i64::from(w[1][x]) - i64::from(w[0][x]) - i64::from(w[2][x])).unsigned_abs())
        })
        .sum();
    sum as f64 / ((rows.len() - 2) * line) as f64
}

#[test]
fn interlaced_pictures_show_no_combing() {
    let b = Bench::new();
    // Vertical bars move, so the two fields of a frame show them in different places.
    let bars = "-f lavfi -i color=black:size=320x240:rate=50:duration=1 \
                -vf geq=lum='40+170*gt(mod(X+10*N\\,64)\\,32)':cb=128:cr=128,tinterlace=interleave_top";
    for codec in ["mpeg2video -q:v 2", "libx264 -crf 10"] {
        b.ffmpeg(&format!("{bars} -c:v {codec} -flags +ilme+ildct -top 1 fields.mkv"));
        b.ffmpeg(&format!("{bars},setfield=prog -c:v {codec} -qscale:v 2 frames.mkv"));
        let (fields, _) = frames(&b, "fields.mkv", &DecodeOptions::default());
        assert_eq!(fields.len(), 25);
        for frame in &fields {
            let rgb = frame.to_rgb().unwrap();
            assert_eq!((rgb.width, rgb.height), (320, 240));
            assert!(combing(&rgb) < 6.0, "{codec}: {}", combing(&rgb));
        }
        // The same pictures, marked as progressive, show that `combing` detects combs.
        let (combed, _) = frames(&b, "frames.mkv", &DecodeOptions::default());
        assert!(combing(&combed[5].to_rgb().unwrap()) > 40.0, "{codec}");
    }
}

#[test]
fn keyframes_only_decoding_keeps_the_duration() {
    let b = Bench::new();
    b.ffmpeg("-f lavfi -i testsrc2=size=192x108:rate=25:duration=6 -c:v libx264 -g 50 -bf 2 clip.mp4");
    b.ffmpeg("-i clip.mp4 -c copy -output_ts_offset 3 clip.ts");
    for name in ["clip.mp4", "clip.ts"] {
        let (all, whole) = frames(&b, name, &DecodeOptions::default());
        let options = DecodeOptions { frames: DecodedFrames::Keyframes, ..DecodeOptions::default() };
        let (got, source) = frames(&b, name, &options);
        let times: Vec<i64> = got.iter().map(|f| f.time.micros()).collect();
        let want: Vec<i64> = all.iter().step_by(50).map(|f| f.time.micros()).collect();
        assert_eq!(times, want, "{name}");
        assert!(source.damage().is_clean());
        // The film does not end at its last keyframe.
        assert_eq!(source.end(), whole.end(), "{name}");
        let options = DecodeOptions { start: Some(Time::from_secs(1.0)), end: Some(Time::from_secs(5.0)), ..options };
        let (got, source) = frames(&b, name, &options);
        assert_eq!(got.iter().map(|f| f.time.micros()).collect::<Vec<_>>(), want[1..], "{name}");
        assert_eq!(source.end(), Time::from_secs(5.0), "{name}");
    }
}

#[test]
fn odd_shapes_keep_their_display_size() {
    let b = Bench::new();
    // Odd sizes, a tiny size, wide pixels.
    for (size, aspect, shown) in [
        ("191:107", "1", (191, 107)),
        ("16:16", "1", (16, 16)),
        ("352:288", "12/11", (384, 288)),
        ("720:576", "64/45", (1024, 576)),
    ] {
        b.ffmpeg(&format!(
            "-f lavfi -i testsrc2=rate=25:duration=0.2 -vf format=yuv444p,scale={size},setsar={aspect} -c:v ffv1 x.mkv"
        ));
        let (got, _) = frames(&b, "x.mkv", &DecodeOptions::default());
        let rgb = got[0].to_rgb().unwrap();
        assert_eq!((rgb.width, rgb.height), shown, "{size}");
        assert_eq!(rgb.data.len(), (shown.0 * shown.1 * 3) as usize);
        assert!(got[0].thumb().is_ok());
    }
}

#[test]
fn pixels_match_ffmpeg() {
    let b = Bench::new();
    for format in ["yuv420p", "yuv444p", "yuv420p10le", "gray", "yuv422p"] {
        b.ffmpeg(&format!(
            "-f lavfi -i testsrc2=size=192x108:rate=25:duration=0.2 -pix_fmt {format} -c:v ffv1 {format}.mkv"
        ));
        b.ffmpeg(&format!(
            "-i {format}.mkv -frames:v 1 -vf scale=flags=bicubic+accurate_rnd+full_chroma_int -pix_fmt rgb24 -f rawvideo {format}.rgb"
        ));
        let want = std::fs::read(b.path(&format!("{format}.rgb"))).unwrap();
        let (got, _) = frames(&b, &format!("{format}.mkv"), &DecodeOptions::default());
        let rgb = got[0].to_rgb().unwrap();
        let mean = rgb.data.iter().zip(&want).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / want.len() as f64;
        assert!(mean < 1.0, "{format}: {mean}");
    }
}

#[test]
fn thumbs_are_block_means_in_every_format() {
    let b = Bench::new();
    for format in ["yuv420p", "yuv420p10le", "nv12", "gray", "yuv444p12le", "rgb24", "bgr0"] {
        let codec = if format == "nv12" { "rawvideo" } else { "ffv1" };
        b.ffmpeg(&format!(
            "-f lavfi -i testsrc2=size=640x360:rate=25:duration=0.2 -pix_fmt {format} -c:v {codec} {format}.nut"
        ));
        b.ffmpeg(&format!(
            "-i {format}.nut -frames:v 1 -vf scale=64:36:flags=area,format=yuvj444p -f rawvideo {format}.yuv"
        ));
        let want = std::fs::read(b.path(&format!("{format}.yuv"))).unwrap();
        let (got, _) = frames(&b, &format!("{format}.nut"), &DecodeOptions::default());
        let thumb = got[0].thumb().unwrap();
        let n = 64 * 36;
        for (plane, want) in [(&thumb.y, &want[..n]), (&thumb.u, &want[n..2 * n]), (&thumb.v, &want[2 * n..])] {
            let mean = plane.iter().zip(want).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / n as f64;
            assert!(mean < 6.0, "{format}: {mean}");
        }
    }
}

#[test]
fn decoding_continues_after_a_change_of_size() {
    let b = Bench::new();
    b.ffmpeg("-f lavfi -i testsrc2=size=192x108:rate=25:duration=1 -c:v libx264 a.ts");
    b.ffmpeg("-f lavfi -i testsrc2=size=320x240:rate=25:duration=1 -c:v libx264 b.ts");
    let joined = [std::fs::read(b.path("a.ts")).unwrap(), std::fs::read(b.path("b.ts")).unwrap()].concat();
    b.write("joined.ts", &joined);
    let (got, _) = frames(&b, "joined.ts", &DecodeOptions::default());
    assert!(got.len() >= 48, "{}", got.len());
    assert!(got.windows(2).all(|p| p[0].time < p[1].time));
    let last = got.last().unwrap().to_rgb().unwrap();
    assert_eq!((last.width, last.height), (320, 240));
    assert!(got.iter().all(|f| f.thumb().is_ok()));
}

#[test]
fn a_matrix_that_nobody_knows_is_no_matrix() {
    let b = Bench::new();
    let picture = "-f lavfi -i testsrc2=size=192x108:rate=25:duration=0.2 -pix_fmt yuv420p -colorspace bt709 -c:v ffv1";
    b.ffmpeg(&format!("{picture} named.mkv"));
    let named = std::fs::read(b.path("named.mkv")).unwrap();
    // Matroska's MatrixCoefficients, one byte long. FFmpeg hands on any integer.
    let at = named.windows(3).position(|w| w == [0x55, 0xB1, 0x81]).unwrap() + 3;
    let picture = |value: u8| {
        let mut bytes = named.clone();
        bytes[at] = value;
        b.write("patched.mkv", &bytes);
        let (frames, _) = frames(&b, "patched.mkv", &DecodeOptions::default());
        assert_eq!(frames.len(), 5, "{value}");
        (frames[0].to_rgb().unwrap(), frames[0].thumb().unwrap())
    };
    // 2: not named, which is Rec. 601 at this size.
    let unnamed = picture(2);
    assert!(picture(1).0 != unnamed.0, "Rec. 709 looks different");
    for value in [15, 99, 255] {
        assert!(picture(value) == unnamed, "{value}");
    }
}
