//! A scene change, as the detector reports it.

use crate::digest::Digest;
use crate::time::Time;

/// How a scene follows the previous one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// It does not: this is the first scene.
    Start,
    /// From one frame to the next.
    Cut,
    /// Through black, white or another flat colour.
    Fade,
    /// One picture is mixed into the other.
    Dissolve,
    /// The scene continues: a long shot gets another keyframe.
    Gap,
}

impl Transition {
    /// Every transition.
    pub const ALL: [Transition; 5] =
        [Transition::Start, Transition::Cut, Transition::Fade, Transition::Dissolve, Transition::Gap];

    /// The name that outputs use.
    pub fn name(self) -> &'static str {
        match self {
            Transition::Start => "start",
            Transition::Cut => "cut",
            Transition::Fade => "fade",
            Transition::Dissolve => "dissolve",
            Transition::Gap => "gap",
        }
    }
}

/// Where a new scene starts.
#[derive(Debug, Clone, PartialEq)]
pub struct Boundary {
    /// Time of the new scene's first frame. In a dissolve, the first frame in which the new picture has the larger
    /// share.
    pub at: Time,
    /// Ordinal of that frame, from 0.
    pub index: u64,
    /// How the scenes are joined.
    pub transition: Transition,
    /// First moment of the transition. For a cut it equals `at`.
    pub from: Time,
    /// Last moment of the transition. No frame between `from` and `to` represents a scene. For a cut it equals `at`.
    pub to: Time,
    /// How certain the change is: for a cut the change over its threshold, otherwise the evidence for the transition.
    pub score: f32,
}

impl Boundary {
    /// A boundary whose transition takes no time.
    pub(crate) fn sudden(transition: Transition, at: Time, index: u64, score: f32) -> Boundary {
        Boundary { at, index, transition, from: at, to: at, score }
    }

    /// Of two boundaries that are too close to each other, the one with the lower rank counts.
    pub(crate) fn rank(&self) -> u8 {
        u8::from(self.transition == Transition::Dissolve)
    }

    /// Adds the boundary to a digest.
    pub(crate) fn digest(&self, d: &mut Digest) {
        let Boundary { at, index, transition, from, to, score } = self;
        d.frame(*index);
        [*at, *from, *to].into_iter().for_each(|t| d.time(t));
        d.bytes(transition.name().as_bytes());
        d.float(*score);
    }
}
