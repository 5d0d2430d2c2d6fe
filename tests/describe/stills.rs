//! Still pictures: which are refused, and the memory that the others take.

use serde_json::Value;

use crate::common::{Bench, tiny};

/// Runs descry, and returns its standard error and its peak memory in megabytes.
#[cfg(target_os = "linux")]
fn measured(b: &Bench, args: &[&str], code: i32) -> (String, f64) {
    let (_, err) = b.run(&tiny(&[args, &["--stats", "--model-threads", "1"]].concat()), code);
    let stats = err.lines().rfind(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{err}"));
    let stats: Value = serde_json::from_str(stats).unwrap();
    (err.clone(), stats["peak_rss_mb"].as_f64().unwrap())
}

/// Every picture has 64 megapixels, and takes what its samples take, once.
#[cfg(target_os = "linux")]
#[test]
fn large_pictures_take_the_memory_of_their_samples() {
    let b = Bench::new();
    b.ffmpeg("-f lavfi -i color=gray:size=8192x8192 -frames:v 1 -pix_fmt rgba rgba.png");
    b.ffmpeg("-f lavfi -i color=gray:size=8192x8192 -frames:v 1 -pix_fmt gray gray.png");
    b.ffmpeg("-f lavfi -i color=gray:size=8192x8192 -frames:v 1 -pix_fmt bgr24 rgb.bmp");
    b.ffmpeg("-f lavfi -i testsrc2=size=320x240 -frames:v 1 small.png");
    let (_, base) = measured(&b, &["caption", "small.png"], 0);
    // Samples of four bytes; of one byte, which become three; of three.
    for (name, most) in [("rgba.png", 268.0), ("gray.png", 201.0), ("rgb.bmp", 201.0)] {
        let (_, peak) = measured(&b, &["caption", name], 0);
        assert!(peak - base < most * 1.1 + 20.0, "{name}: {peak} − {base} MB");
    }
    // However many there are and however many cores read them.
    for n in 0..4 {
        std::fs::hard_link(b.path("rgb.bmp"), b.path(&format!("{n}.bmp"))).unwrap();
    }
    let (_, peak) = measured(&b, &["embed", "0.bmp", "1.bmp", "2.bmp", "3.bmp"], 0);
    assert!(peak - base < 560.0, "{peak} − {base} MB");
}

#[cfg(target_os = "linux")]
#[test]
fn pictures_beyond_the_limit_are_refused_before_they_are_decoded() {
    let b = Bench::new();
    b.ffmpeg("-f lavfi -i color=gray:size=12000x8192 -frames:v 1 -pix_fmt yuvj420p -q:v 5 large.jpg");
    b.ffmpeg("-f lavfi -i color=gray:size=12000x8192 -frames:v 1 -pix_fmt gray large.png");
    // A bitmap of 8000 × 8000 pixels that ends with its header, and one of more than it may have.
    b.ffmpeg("-f lavfi -i color=gray:size=8x8 -frames:v 1 -pix_fmt bgr24 small.bmp");
    let mut bitmap = std::fs::read(b.path("small.bmp")).unwrap();
    for (name, side) in [("short.bmp", 8_000i32), ("lying.bmp", i32::MAX)] {
        bitmap[18..22].copy_from_slice(&side.to_le_bytes());
        bitmap[22..26].copy_from_slice(&side.to_le_bytes());
        b.write(name, &bitmap);
    }
    for (name, cause) in [
        ("large.jpg", "12000×8192 pixels"),
        ("large.png", "12000×8192 pixels"),
        ("short.bmp", "truncated"),
        ("lying.bmp", "the picture"),
    ] {
        let (err, peak) = measured(&b, &["caption", name], 1);
        assert!(err.contains(cause) && peak < 200.0, "{name}: {peak} MB, {err}");
        assert!(!name.starts_with("large") || err.contains("--max-pixels"), "{err}");
    }
    // Who trusts the file gets a caption. A JPEG file is decoded at half its size: 25 megapixels.
    let (_, peak) = measured(&b, &["caption", "large.jpg", "--max-pixels", "200000000"], 0);
    assert!(peak < 250.0, "{peak} MB");
}
