//! Whether a keyframe shows something new, by the cosine between embeddings.
//!
//! Owns the distinct scenes of one stream; the oldest are dropped beyond [`DedupOptions::memory`]. Verdicts come in the order
//! of the pictures. Callers leave blank pictures out: they show nothing and must not be remembered.

use std::collections::VecDeque;

use crate::model::EmbedderSpec;

/// Thresholds and memory. A model's manifest may bring its own measured thresholds: [`DedupOptions::measured`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DedupOptions {
    /// From this cosine to the picture before on, a picture shows the same scene. Above 1 turns this off. Default: 0.92.
    pub same: f32,
    /// From this cosine to an earlier scene on, a picture shows that scene again. Above 1 turns this off. Default: 0.95.
    pub returning: f32,
    /// Distinct scenes that are remembered. Default: 512, which is 512 KiB of the built-in model's embeddings.
    pub memory: usize,
}

impl Default for DedupOptions {
    fn default() -> DedupOptions {
        DedupOptions { same: 0.92, returning: 0.95, memory: 512 }
    }
}

impl DedupOptions {
    /// A model's measured thresholds if its manifest has them, otherwise the defaults.
    pub fn measured(embedder: Option<&EmbedderSpec>) -> DedupOptions {
        let defaults = DedupOptions::default();
        let measured = embedder.and_then(|e| e.dedup);
        measured.map_or(defaults, |m| DedupOptions { same: m.same, returning: m.returning, ..defaults })
    }

    /// Makes every picture new.
    pub fn off() -> DedupOptions {
        DedupOptions { same: f32::INFINITY, returning: f32::INFINITY, ..DedupOptions::default() }
    }
}

/// How a picture relates to the pictures before it. The number is that of its distinct scene, from 0 in order of first
/// appearance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A scene that was not there before, or is no longer remembered.
    New(u32),
    /// The same scene as the picture before.
    SameAsPrevious(u32),
    /// An earlier scene again.
    Returning(u32),
}

impl Verdict {
    /// The distinct scene's number.
    pub fn id(self) -> u32 {
        match self {
            Verdict::New(id) | Verdict::SameAsPrevious(id) | Verdict::Returning(id) => id,
        }
    }

    /// Whether the scene is new.
    pub fn is_new(self) -> bool {
        matches!(self, Verdict::New(_))
    }
}

/// A verdict and the cosines behind it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// Cosine to the picture before; `None` for the first picture.
    pub previous: Option<f32>,
    /// Number and cosine of the most similar remembered scene, that of the picture before excepted.
    pub best: Option<(u32, f32)>,
}

/// Judges the pictures of one stream.
#[derive(Debug, Clone)]
pub struct Dedup {
    options: DedupOptions,
    /// Number and first embedding of each remembered scene, oldest first.
    scenes: VecDeque<(u32, Vec<f32>)>,
    /// Scene and embedding of the picture before.
    previous: Option<(u32, Vec<f32>)>,
    /// Number of the next new scene.
    next: u32,
}

impl Dedup {
    /// Starts a stream.
    pub fn new(options: &DedupOptions) -> Dedup {
        Dedup { options: *options, scenes: VecDeque::new(), previous: None, next: 0 }
    }

    /// The verdict on the next picture. `unit` is its embedding, of length 1.
    pub fn judge(&mut self, unit: &[f32]) -> Verdict {
        self.weigh(unit).verdict
    }

    /// As [`Dedup::judge`], with the cosines behind the verdict.
    pub fn weigh(&mut self, unit: &[f32]) -> Judgement {
        let before = self.previous.as_ref().map(|(id, _)| *id);
        // A slow change must not creep on from picture to picture, so the scene's first picture has to be similar too.
        let previous = self.previous.as_ref().map(|(_, v)| cosine(v, unit));
        let origin = before.and_then(|id| self.scenes.iter().find(|(n, _)| *n == id)).map(|(_, v)| cosine(v, unit));
        let best = self
            .scenes
            .iter()
            .filter(|(id, _)| Some(*id) != before)
            .map(|(id, v)| (*id, cosine(v, unit)))
            .reduce(|a, b| if b.1 > a.1 { b } else { a });
        let verdict = match (before, previous, best) {
            (Some(id), Some(p), _) if p >= self.options.same && origin.is_none_or(|o| o >= self.options.same) => {
                Verdict::SameAsPrevious(id)
            }
            (_, _, Some((id, cosine))) if cosine >= self.options.returning => Verdict::Returning(id),
            _ => Verdict::New(self.next),
        };
        if let Verdict::New(id) = verdict {
            self.next = self.next.saturating_add(1);
            if self.options.memory > 0 {
                if self.scenes.len() >= self.options.memory {
                    self.scenes.pop_front();
                }
                self.scenes.push_back((id, unit.to_vec()));
            }
        }
        self.previous = Some((verdict.id(), unit.to_vec()));
        Judgement { verdict, previous, best }
    }

    /// Whether a scene can still return. Data of a scene that cannot may be dropped.
    pub fn remembers(&self, id: u32) -> bool {
        self.scenes.iter().any(|(n, _)| *n == id) || self.previous.as_ref().is_some_and(|(n, _)| *n == id)
    }
}

/// Cosine of two vectors of length 1.
fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(degrees: f32) -> Vec<f32> {
        let (sin, cos) = degrees.to_radians().sin_cos();
        vec![cos, sin]
    }

    fn options() -> DedupOptions {
        // 10° is 0.985, 20° is 0.940
        DedupOptions { same: 0.98, returning: 0.99, memory: 2 }
    }

    #[test]
    fn same_new_and_returning() {
        let mut dedup = Dedup::new(&options());
        assert_eq!(dedup.judge(&at(0.0)), Verdict::New(0));
        assert_eq!(dedup.judge(&at(5.0)), Verdict::SameAsPrevious(0));
        assert_eq!(dedup.judge(&at(90.0)), Verdict::New(1));
        let judged = dedup.weigh(&at(2.0));
        assert_eq!(judged.verdict, Verdict::Returning(0));
        assert!(judged.previous.unwrap() < 0.1);
        assert_eq!(judged.best.unwrap().0, 0);
        assert_eq!(dedup.judge(&at(3.0)), Verdict::SameAsPrevious(0));
    }

    #[test]
    fn a_slow_change_ends_the_scene() {
        let mut dedup = Dedup::new(&options());
        let verdicts: Vec<Verdict> = [0.0, 8.0, 16.0].into_iter().map(|d| dedup.judge(&at(d))).collect();
        assert_eq!(verdicts, [Verdict::New(0), Verdict::SameAsPrevious(0), Verdict::New(1)]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut dedup = Dedup::new(&options());
        for degrees in [0.0, 90.0, 180.0] {
            dedup.judge(&at(degrees));
        }
        assert_eq!(dedup.judge(&at(0.0)), Verdict::New(3));
        assert!(!dedup.remembers(0) && !dedup.remembers(1) && dedup.remembers(2) && dedup.remembers(3));
    }

    #[test]
    fn off_is_off() {
        let mut dedup = Dedup::new(&DedupOptions::off());
        assert!((0..4).all(|n| dedup.judge(&at(0.0)) == Verdict::New(n)));
    }
}
