//! Archives of made-up keyframes. The test chooses their embeddings and captions.
#![allow(dead_code)] // Benches use only parts of this module.

use std::sync::Arc;

use descry::archive::{Archive, Recipe, RecordName, Work};
use descry::fingerprint::Fingerprint;
use descry::pipeline::KeyframeRecord;
use descry::time::Time;
use descry::track::{SceneRecord, Track};
use serde_json::json;

/// A recipe whose model makes embeddings of this dimension.
pub(crate) fn recipe(model: &str, hash: &str, dimension: usize) -> Arc<Recipe> {
    Arc::new(Recipe { model: model.into(), model_hash: hash.into(), dimension, options: json!({}) })
}

/// A keyframe that represents one second of a scene.
pub(crate) fn keyframe(scene: u32, second: usize, text: Option<&str>, embedding: Vec<f32>) -> KeyframeRecord {
    let at = |ms: i64| Time::from_millis(second as i64 * 1_000 + ms);
    let record = SceneRecord {
        scene,
        start: at(0),
        end: at(1_000),
        start_frame: second as u64 * 25,
        end_frame: second as u64 * 25 + 25,
        keyframe: at(400),
        transition: "cut",
        text: text.map(Into::into),
        shown: text.is_some(),
        score: text.map(|_| 0.5),
        mean_logprob: text.map(|_| -1.0),
        similarity: None,
        repeats: None,
        blank: false,
        speech: None,
    };
    KeyframeRecord { record, embedding: Some(embedding), thumbnail: None, text: None }
}

/// Puts a video into an archive and removes its older states. Another `size` makes another state of the file.
pub(crate) fn put(
    archive: &Archive,
    video: &str,
    size: u64,
    recipe: &Arc<Recipe>,
    keyframes: impl IntoIterator<Item = KeyframeRecord>,
) -> RecordName {
    let source = Fingerprint { size: Some(size), ..Fingerprint::default() };
    let work = Work::new(video, source, recipe.clone());
    let claim = archive.claim(work.name.key).expect("a claim").expect("a free video");
    let mut writer = archive.begin(&work).expect("a folder for the video");
    keyframes.into_iter().for_each(|keyframe| writer.keyframe(keyframe).expect("a keyframe"));
    let track = Track { options: json!({}), ..Track::new(video, recipe.model.to_string()) };
    writer.finish(track).expect("a record");
    drop(claim);
    work.name
}
