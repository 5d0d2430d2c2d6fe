//! WAV: the file that a voice writes becomes samples, and nothing else of it is believed; and what was spoken, as a file for
//! players.

use std::io::{Cursor, Seek, Write};

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};

/// Sample rates that a voice may have, in Hz.
const RATES: std::ops::RangeInclusive<u32> = 8_000..=192_000;
/// Most channels of a voice.
const CHANNELS: u16 = 8;
/// A program that writes to a pipe does not know the length when it writes the header. Lengths from here on stand for "to the
/// end".
const UNKNOWN: u32 = 0x7FFF_0000;
/// Quieter samples at the beginning and the end are silence: −60 dBFS.
const SILENCE: f32 = 0.001;

/// Something that was spoken.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct VoiceSamples {
    /// In Hz.
    pub(crate) rate: u32,
    /// One channel. Silence at either end is left out.
    pub(crate) samples: Vec<f32>,
}

/// Reads a WAV file.
///
/// # Errors
/// In words, what is wrong with it.
pub(super) fn read_wav(mut bytes: Vec<u8>) -> Result<VoiceSamples, String> {
    if !(bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WAVE")) {
        return Err(format!("wrote {} bytes that are not a WAV file", bytes.len()));
    }
    settle_length(&mut bytes)?;
    let broken = |e: hound::Error| format!("wrote a WAV file that cannot be read: {e}");
    let mut reader = WavReader::new(Cursor::new(bytes)).map_err(broken)?;
    let spec = reader.spec();
    if !RATES.contains(&spec.sample_rate) {
        return Err(format!("wrote a WAV file of {} Hz, which no speech has", spec.sample_rate));
    }
    if !(1..=CHANNELS).contains(&spec.channels) {
        return Err(format!("wrote a WAV file with {} channels", spec.channels));
    }
    let all: Result<Vec<f32>, hound::Error> = match spec.sample_format {
        SampleFormat::Float => reader.samples::<f32>().collect(),
        SampleFormat::Int => {
            let scale = 1.0 / (1u64 << (spec.bits_per_sample.clamp(1, 32) - 1)) as f32;
            reader.samples::<i32>().map(|s| s.map(|s| s as f32 * scale)).collect()
        }
    };
    let all = all.map_err(broken)?;
    if all.iter().any(|s| !s.is_finite() || s.abs() > 16.0) {
        return Err("wrote a WAV file whose samples are no sound".into());
    }
    let channels = usize::from(spec.channels);
    let mono: Vec<f32> = all.chunks_exact(channels).map(|frame| frame.iter().sum::<f32>() / channels as f32).collect();
    Ok(VoiceSamples { rate: spec.sample_rate, samples: trim(&mono).to_vec() })
}

/// Writes samples of one channel as a WAV file of 16 bits.
///
/// # Errors
/// If `to` cannot be written.
pub(crate) fn write_wav(rate: u32, samples: &[f32], to: impl Write + Seek) -> Result<(), hound::Error> {
    let spec = WavSpec { channels: 1, sample_rate: rate, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let mut writer = WavWriter::new(to, spec)?;
    for sample in samples {
        writer.write_sample((sample.clamp(-1.0, 1.0) * 32_767.0).round() as i16)?;
    }
    writer.finalize()
}

/// Gives the data of a WAV file the length that is there, if the header leaves it open.
fn settle_length(bytes: &mut [u8]) -> Result<(), String> {
    let number = |bytes: &[u8], at: usize| {
        bytes.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).ok_or("wrote half a WAV header")
    };
    let (mut at, mut frame) = (12, 1);
    loop {
        let length = number(bytes, at + 4)?;
        let body = at + 8;
        let there = bytes.len() - body;
        match &bytes[at..at + 4] {
            b"data" => {
                if length >= UNKNOWN {
                    let whole = there - there % frame;
                    let known = u32::try_from(whole).unwrap_or(u32::MAX).to_le_bytes();
                    bytes[at + 4..body].copy_from_slice(&known);
                } else if length as usize > there {
                    return Err(format!("wrote a WAV file that is cut off: {there} of {length} bytes are there"));
                }
                return Ok(());
            }
            b"fmt " => frame = usize::from(bytes.get(body + 12).copied().unwrap_or(1)).max(1),
            _ => {}
        }
        // Chunks begin at even positions.
        at = body + length as usize + length as usize % 2;
    }
}

/// What is between the silence at the beginning and that at the end.
fn trim(samples: &[f32]) -> &[f32] {
    let loud = |s: &f32| s.abs() > SILENCE;
    match (samples.iter().position(loud), samples.iter().rposition(loud)) {
        (Some(first), Some(last)) => &samples[first..=last],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wav(rate: u32, channels: u16, samples: &[i16]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let spec =
            hound::WavSpec { channels, sample_rate: rate, bits_per_sample: 16, sample_format: SampleFormat::Int };
        let mut writer = hound::WavWriter::new(Cursor::new(&mut bytes), spec).unwrap();
        samples.iter().for_each(|s| writer.write_sample(*s).unwrap());
        writer.finalize().unwrap();
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        let mut bytes = Vec::new();
        write_wav(22_050, &[0.5, -2.0, 2.0, -0.25], Cursor::new(&mut bytes)).unwrap();
        let VoiceSamples { rate, samples } = read_wav(bytes).unwrap();
        let want = [0.5, -1.0, 1.0, -0.25];
        assert_eq!((rate, samples.len()), (22_050, want.len()));
        assert!(samples.iter().zip(want).all(|(is, want)| (is - want).abs() < 1e-4), "{samples:?}");
    }

    #[test]
    fn samples_become_mono_without_silence_around_them() {
        let speech = read_wav(wav(22_050, 2, &[0, 0, 16_384, 0, -8_192, -8_192, 0, 2])).unwrap();
        assert_eq!(speech, VoiceSamples { rate: 22_050, samples: vec![0.25, -0.25] });
        assert!(read_wav(wav(22_050, 1, &[0; 9])).unwrap().samples.is_empty());
    }

    #[test]
    fn a_length_that_a_pipe_leaves_open_is_what_is_there() {
        for open in [0x7FFF_F000u32, 0xFFFF_FFFF] {
            let mut bytes = wav(16_000, 1, &[9_000; 5]);
            bytes[40..44].copy_from_slice(&open.to_le_bytes());
            bytes.push(7);
            assert_eq!(read_wav(bytes).unwrap().samples.len(), 5);
        }
        // A program may print more behind it.
        let mut bytes = wav(16_000, 1, &[9_000; 5]);
        bytes.extend(b"/dev/stdout\n");
        assert_eq!(read_wav(bytes).unwrap().samples.len(), 5);
    }

    #[test]
    fn what_is_no_speech_is_refused() {
        let good = wav(16_000, 1, &[9_000; 50]);
        assert!(read_wav(good[..100].to_vec()).unwrap_err().contains("cut off"));
        for rate in [0, 1, 4_000_000_000] {
            let mut bytes = good.clone();
            bytes[24..28].copy_from_slice(&u32::to_le_bytes(rate));
            assert!(read_wav(bytes).is_err(), "{rate}");
        }
        assert!(read_wav(b"no speech at all".to_vec()).unwrap_err().contains("not a WAV"));
        // No prefix and no changed byte is a panic.
        for length in 0..good.len() {
            let _ = read_wav(good[..length].to_vec());
        }
        for at in 0..60 {
            for value in [0, 1, 0x7F, 0x80, 0xFF] {
                let mut bytes = good.clone();
                bytes[at] = value;
                let _ = read_wav(bytes);
            }
        }
    }
}
