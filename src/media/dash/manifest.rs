//! The elements and attributes of a manifest that matter here.

use serde::Deserialize;

/// The document.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DashManifest {
    #[serde(rename = "@type")]
    pub(super) kind: Option<String>,
    #[serde(rename = "@mediaPresentationDuration")]
    pub(super) duration: Option<String>,
    #[serde(rename = "@availabilityStartTime")]
    pub(super) available_from: Option<String>,
    #[serde(rename = "@timeShiftBufferDepth")]
    pub(super) depth: Option<String>,
    #[serde(rename = "BaseURL")]
    pub(super) bases: Vec<Base>,
    #[serde(rename = "Period")]
    pub(super) periods: Vec<Period>,
}

/// An address that others count from.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Base {
    #[serde(rename = "$text")]
    pub(super) address: String,
}

/// A stretch of the presentation.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Period {
    #[serde(rename = "@start")]
    pub(super) start: Option<String>,
    #[serde(rename = "@duration")]
    pub(super) duration: Option<String>,
    #[serde(rename = "BaseURL")]
    pub(super) bases: Vec<Base>,
    #[serde(rename = "SegmentTemplate")]
    pub(super) template: Option<Template>,
    #[serde(rename = "SegmentList")]
    pub(super) list: Option<SegmentList>,
    #[serde(rename = "AdaptationSet")]
    pub(super) sets: Vec<AdaptationSet>,
}

/// The same content in several qualities.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AdaptationSet {
    #[serde(rename = "@contentType")]
    pub(super) content_type: Option<String>,
    #[serde(rename = "@mimeType")]
    pub(super) mime_type: Option<String>,
    #[serde(rename = "@width")]
    pub(super) width: Option<u64>,
    #[serde(rename = "@height")]
    pub(super) height: Option<u64>,
    #[serde(rename = "BaseURL")]
    pub(super) bases: Vec<Base>,
    #[serde(rename = "SegmentTemplate")]
    pub(super) template: Option<Template>,
    #[serde(rename = "SegmentList")]
    pub(super) list: Option<SegmentList>,
    #[serde(rename = "Representation")]
    pub(super) representations: Vec<Representation>,
}

/// One quality.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Representation {
    #[serde(rename = "@id")]
    pub(super) id: Option<String>,
    #[serde(rename = "@bandwidth")]
    pub(super) bandwidth: Option<u64>,
    #[serde(rename = "@mimeType")]
    pub(super) mime_type: Option<String>,
    #[serde(rename = "@width")]
    pub(super) width: Option<u64>,
    #[serde(rename = "@height")]
    pub(super) height: Option<u64>,
    #[serde(rename = "BaseURL")]
    pub(super) bases: Vec<Base>,
    #[serde(rename = "SegmentTemplate")]
    pub(super) template: Option<Template>,
    #[serde(rename = "SegmentList")]
    pub(super) list: Option<SegmentList>,
}

/// How the addresses of segments are made.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Template {
    #[serde(rename = "@media")]
    pub(super) media: Option<String>,
    #[serde(rename = "@initialization")]
    pub(super) initialization: Option<String>,
    #[serde(rename = "@timescale")]
    pub(super) timescale: Option<u64>,
    #[serde(rename = "@duration")]
    pub(super) duration: Option<u64>,
    #[serde(rename = "@startNumber")]
    pub(super) start_number: Option<u64>,
    #[serde(rename = "@presentationTimeOffset")]
    pub(super) offset: Option<u64>,
    #[serde(rename = "SegmentTimeline")]
    pub(super) timeline: Option<SegmentTimeline>,
}

impl Template {
    /// This one, completed from the one of an outer element.
    pub(super) fn or(self, outer: Option<&Template>) -> Template {
        let Some(outer) = outer.cloned() else { return self };
        Template {
            media: self.media.or(outer.media),
            initialization: self.initialization.or(outer.initialization),
            timescale: self.timescale.or(outer.timescale),
            duration: self.duration.or(outer.duration),
            start_number: self.start_number.or(outer.start_number),
            offset: self.offset.or(outer.offset),
            timeline: self.timeline.or(outer.timeline),
        }
    }
}

/// When segments begin, and how long they are.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct SegmentTimeline {
    #[serde(rename = "S")]
    pub(super) runs: Vec<TimelineRun>,
}

/// Segments of one length.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct TimelineRun {
    #[serde(rename = "@t")]
    pub(super) start: Option<u64>,
    #[serde(rename = "@d")]
    pub(super) duration: u64,
    /// How many follow the first; a negative number stands for all up to the next run.
    #[serde(rename = "@r")]
    pub(super) repeat: Option<i64>,
}

/// Segments by their addresses.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct SegmentList {
    #[serde(rename = "@timescale")]
    pub(super) timescale: Option<u64>,
    #[serde(rename = "@duration")]
    pub(super) duration: Option<u64>,
    #[serde(rename = "Initialization")]
    pub(super) initialization: Option<SegmentAddress>,
    #[serde(rename = "SegmentURL")]
    pub(super) segments: Vec<SegmentAddress>,
}

/// An address, and the part of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct SegmentAddress {
    #[serde(rename = "@sourceURL", alias = "@media")]
    pub(super) address: Option<String>,
    /// First and last byte.
    #[serde(rename = "@range", alias = "@mediaRange")]
    pub(super) range: Option<String>,
}
