//! A picture to a JPEG, and the body of a request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::media::resize::{Resample, Window, resize};
use crate::media::rgb::Rgb;

/// Quality of the JPEG pictures, of 100.
const JPEG_QUALITY: u8 = 85;

/// The picture as JPEG, reduced until no side is longer than `longest`.
pub(super) fn jpeg(picture: &Rgb, longest: u32) -> Result<Vec<u8>> {
    let bug = || Error::runtime("a keyframe cannot be encoded as JPEG", "Report this as a bug.");
    let samples = u64::from(picture.width) * u64::from(picture.height) * 3;
    if samples == 0 || picture.data.len() as u64 != samples {
        return Err(bug());
    }
    let reduced;
    let picture = match size_within(picture.width, picture.height, longest) {
        size if size == (picture.width, picture.height) => picture,
        (width, height) => {
            let (width, height) = (width as usize, height as usize);
            let all = Window { left: 0, top: 0, width, height };
            reduced = resize(picture, width, height, Resample::Bicubic, all);
            &reduced
        }
    };
    picture.to_jpeg(JPEG_QUALITY).map_err(|e| bug().with_source(e))
}

/// The largest size of the same shape whose sides are at most `longest`, and at least 1.
fn size_within(width: u32, height: u32, longest: u32) -> (u32, u32) {
    let most = width.max(height);
    if most <= longest {
        return (width, height);
    }
    let side = |side: u32| (f64::from(side) * f64::from(longest) / f64::from(most)).round().max(1.0) as u32;
    (side(width), side(height))
}

/// What is the same in every request of a run.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) model: String,
    pub(super) max_tokens: usize,
}

impl Question {
    /// The body of a request with this prompt for these pictures.
    pub(super) fn body(&self, prompt: &str, jpegs: &[Vec<u8>]) -> Value {
        let picture = |jpeg: &Vec<u8>| {
            let url = format!("data:image/jpeg;base64,{}", STANDARD.encode(jpeg));
            json!({ "type": "image_url", "image_url": { "url": url } })
        };
        let mut content: Vec<Value> = jpegs.iter().map(picture).collect();
        content.push(json!({ "type": "text", "text": prompt }));
        json!({
            "model": self.model,
            "messages": [{ "role": "user", "content": content }],
            "max_tokens": self.max_tokens,
            "temperature": 0,
            "stream": false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: u32, height: u32) -> Rgb {
        let data = (0..width * height * 3).map(|n| (n % 251) as u8).collect();
        Rgb { width, height, data }
    }

    #[test]
    fn pictures_are_reduced_to_the_longest_side_and_never_enlarged() {
        for ((width, height), longest, want) in [
            ((320, 180), 64, (64, 36)),
            ((180, 320), 64, (36, 64)),
            ((64, 64), 64, (64, 64)),
            ((20, 10), 64, (20, 10)),
            ((1000, 1), 64, (64, 1)),
        ] {
            let bytes = jpeg(&picture(width, height), longest).unwrap();
            let read = image::load_from_memory_with_format(&bytes, image::ImageFormat::Jpeg).unwrap();
            assert_eq!((read.width(), read.height()), want);
        }
    }

    #[test]
    fn a_picture_that_is_none_is_an_error() {
        assert!(jpeg(&Rgb { width: 0, height: 4, data: Vec::new() }, 64).is_err());
        assert!(jpeg(&Rgb { width: 4, height: 4, data: vec![0; 7] }, 64).is_err());
    }

    #[test]
    fn the_body_has_the_form_of_openai() {
        let question = Question { model: "m:3b".into(), max_tokens: 64 };
        let body = question.body("What \"is\" it?", &[b"jpeg".to_vec()]);
        assert_eq!(body["model"], "m:3b");
        assert_eq!((body["max_tokens"].as_u64(), body["temperature"].as_f64()), (Some(64), Some(0.0)));
        let content = &body["messages"][0]["content"];
        assert_eq!(body["messages"][0]["role"], "user");
        assert_eq!(content[0]["image_url"]["url"], "data:image/jpeg;base64,anBlZw==");
        assert_eq!(content[1], json!({ "type": "text", "text": "What \"is\" it?" }));
    }
}
