//! Reviews, and the descriptions of an archive that new ones are made of.

use std::path::Path;

use descry::review::{FilmFacts, ReviewDocument, ReviewOutline, WarningRules};
use descry::time::Time;
use descry::track::Format;
use serde_json::to_vec;

use crate::scratch::check_error;

/// A review: its outline is that of the whole document, everything can be made of it, and what is written can be read.
pub(crate) fn review(data: &[u8]) {
    let film = FilmFacts { name: "film.mp4".into(), duration: Some(Time::from_millis(60_000)) };
    let new = match ReviewDocument::of_json(data, "descriptions.json", film, "00ff".into()) {
        Ok(new) => Some(new),
        Err(error) => {
            check_error(&error);
            None
        }
    };
    let document = ReviewDocument::parse(data);
    if let Ok(document) = &document {
        let outline = ReviewOutline::parse(data).expect("the outline of a review");
        assert_eq!((&outline.cues, &outline.deleted), (&document.cues, &document.deleted));
        assert_eq!(outline.progress().changes, document.progress().changes);
    }
    for document in [new.clone(), document.ok()].into_iter().flatten() {
        assert_eq!(document.facts(&WarningRules::default()).len(), document.cues.len());
        document.report();
        for format in [Format::Vtt, Format::Json, Format::Html] {
            document.export(format, Path::new("/")).expect("a track in memory");
        }
        let mut again = document.clone();
        if let Some(new) = &new {
            let renewal = again.renew(new.clone(), "2026-01-01T00:00:00Z");
            assert_eq!(renewal.kept + renewal.replaced, document.cues.len());
            assert_eq!(renewal.kept + renewal.new, again.cues.len());
        }
        let written = to_vec(&again).expect("a review can be written");
        assert_eq!(ReviewDocument::parse(&written).expect("a written review can be read").cues.len(), again.cues.len());
    }
}
