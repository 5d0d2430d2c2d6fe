//! What is known of the videos of an archive and of their reviews, for a list of them.
//!
//! A video's descriptions or its review are read once, and again when they have changed: names and states of files tell. A
//! refresh reads for a limited time and leaves the rest to the next one. Memory: some hundred bytes for each video, and the
//! one that is being read.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::corrected::is_of;
use super::film::{FilmPresence, title};
use super::place::ReviewPlace;
use crate::archive::catalog::Archive;
use crate::archive::layout::{JSON, THUMBNAILS, video_file};
use crate::archive::record::{RecordName, VideoRecord};
use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use crate::message;
use crate::message::Setting;
use crate::review::{FilmFacts, ReviewDocument, ReviewProgress};
use crate::time::Time;

/// Most bytes of a video's descriptions: those of a long one have some megabytes.
const DESCRIPTIONS_LIMIT: u64 = 128 << 20;

/// How the review of a video is related to its descriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReviewStanding {
    /// There is none, or nothing was changed in it.
    Untouched,
    /// It began with these descriptions.
    Current,
    /// The video was described again since it began.
    DescribedAgain,
}

/// A video in a list.
#[derive(Debug, Clone)]
pub struct ListedFilm {
    /// The record of its descriptions.
    pub name: RecordName,
    /// Its name in the archive.
    pub video: String,
    /// How long it is; none if that is not known.
    pub duration_ms: Option<i64>,
    /// How far its review is.
    pub progress: ReviewProgress,
    /// Whether it has a review, and of what.
    pub standing: ReviewStanding,
    /// A thumbnail of it, by its path from the archive's root.
    pub thumbnail: Option<String>,
    /// Why nothing more is known of it, in words.
    pub fault: Option<String>,
    source: Fingerprint,
}

/// In which order videos are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListOrder {
    /// Those whose unchecked cues have the lowest scores on average first; those with nothing to check last.
    #[default]
    LeastCertain,
    /// Those with the lowest single score first.
    LowestScore,
    /// Those with the most unchecked cues first.
    MostUnchecked,
    /// Those that were edited last first.
    LastEdited,
    /// By name.
    Title,
}

/// Which videos are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListFilter {
    /// All of them.
    #[default]
    All,
    /// Those with cues that nobody has checked.
    Unfinished,
    /// Those in which everything is checked.
    Finished,
    /// Those that somebody has begun to edit.
    Edited,
}

/// A part of a list of videos.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// The order.
    pub order: ListOrder,
    /// Which ones.
    pub filter: ListFilter,
    /// Only those whose names contain this, whatever the case of its letters; empty for all.
    pub find: String,
    /// How many are left out at the start.
    pub skip: usize,
    /// How many are listed at most.
    pub limit: usize,
}

/// What is known of an archive's videos and their reviews.
#[derive(Debug, Default)]
pub struct Overview {
    /// By key.
    films: BTreeMap<u64, KnownFilm>,
    /// Videos that were not read yet.
    unread: usize,
    /// Reviews of videos that are not in the archive.
    orphans: usize,
}

/// What was read of a video, and of what.
#[derive(Debug)]
struct KnownFilm {
    /// The mark of its review.
    review: Option<String>,
    film: ListedFilm,
}

impl Overview {
    /// Reads what is new or has changed, for about as long as `budget`; the rest comes the next time.
    ///
    /// # Errors
    /// The archive cannot be listed. What is wrong with one video is in its [`ListedFilm::fault`].
    pub fn refresh(&mut self, archive: &Archive, place: &ReviewPlace, budget: Duration) -> Result<()> {
        let until = Instant::now() + budget;
        let reviews = place.reviews(archive)?;
        let mut marks: BTreeMap<u64, String> = reviews.iter().map(|review| (review.key, review.mark())).collect();
        // Of a video that is being replaced there may be two states for a moment.
        let names: BTreeMap<u64, RecordName> =
            archive.record_names()?.into_iter().map(|name| (name.key, name)).collect();
        self.films.retain(|key, _| names.contains_key(key));
        let (mut new, mut faulty) = (Vec::new(), Vec::new());
        for (key, name) in names {
            let review = marks.remove(&key);
            match self.films.get(&key).filter(|known| known.film.name == name && known.review == review) {
                None => new.push((name, review)),
                // It may have been repaired. Those that were never read come first.
                Some(known) if known.film.fault.is_some() => faulty.push((name, review)),
                Some(_) => {}
            }
        }
        self.orphans = marks.len();
        self.unread = new.len();
        for (name, review) in new.into_iter().chain(faulty) {
            if Instant::now() >= until {
                break;
            }
            self.unread = self.unread.saturating_sub(1);
            if let Some(film) = read_film(archive, place, name, review.is_some())? {
                self.films.insert(name.key, KnownFilm { review, film });
            }
        }
        Ok(())
    }

    /// Takes what a session knows of the review of a video, which is newer than what is on the disk.
    pub fn set_progress(&mut self, key: u64, progress: ReviewProgress) {
        if let Some(known) = self.films.get_mut(&key) {
            if progress.changes > 0 {
                known.film.standing = ReviewStanding::Current;
            }
            known.film.progress = progress;
        }
    }

    /// A part of the list, and how many videos all of its parts have.
    pub fn list(&self, query: &ListQuery) -> (Vec<&ListedFilm>, usize) {
        let find = query.find.to_lowercase();
        let is_listed = |film: &&ListedFilm| {
            let progress = &film.progress;
            let fits = match query.filter {
                ListFilter::All => true,
                ListFilter::Unfinished => progress.unchecked > 0 || film.fault.is_some(),
                ListFilter::Finished => progress.unchecked == 0 && film.fault.is_none(),
                ListFilter::Edited => progress.changes > 0,
            };
            fits && (find.is_empty() || film.video.to_lowercase().contains(&find))
        };
        let mut films: Vec<&ListedFilm> = self.films.values().map(|known| &known.film).filter(is_listed).collect();
        films.sort_by_cached_key(|film| (rank(film, query.order), film.title().to_lowercase(), film.name));
        let total = films.len();
        (films.into_iter().skip(query.skip).take(query.limit).collect(), total)
    }

    /// A video, if it is known.
    pub fn film(&self, key: u64) -> Option<&ListedFilm> {
        self.films.get(&key).map(|known| &known.film)
    }

    /// How many videos are known.
    pub fn known(&self) -> usize {
        self.films.len()
    }

    /// How many videos were not read yet.
    pub fn unread(&self) -> usize {
        self.unread
    }

    /// How many reviews belong to videos that are not in the archive.
    pub fn orphans(&self) -> usize {
        self.orphans
    }
}

/// Where a video is in an order: lower ones first.
fn rank(film: &ListedFilm, order: ListOrder) -> (u8, Reverse<usize>, Reverse<Option<String>>) {
    // The scores between 0 and 1 as a number that can be sorted.
    let by_score = |score: Option<f32>| match score {
        Some(score) => (0, Reverse(usize::MAX - (f64::from(score.clamp(0.0, 1.0)) * 1e9) as usize)),
        None if film.progress.unchecked > 0 || film.fault.is_some() => (1, Reverse(film.progress.unchecked)),
        None => (2, Reverse(0)),
    };
    let (group, number) = match order {
        ListOrder::LeastCertain => by_score(film.progress.mean),
        ListOrder::LowestScore => by_score(film.progress.lowest),
        ListOrder::MostUnchecked => (0, Reverse(film.progress.unchecked)),
        ListOrder::LastEdited | ListOrder::Title => (0, Reverse(0)),
    };
    let time = film.progress.last_change.clone().filter(|_| order == ListOrder::LastEdited);
    (group, number, Reverse(time))
}

impl ListedFilm {
    /// Its name without folders.
    pub fn title(&self) -> &str {
        title(&self.video)
    }

    /// Whether its file is what was described.
    pub fn presence(&self) -> FilmPresence {
        FilmPresence::of(&self.video, &self.source)
    }
}

/// Reads what the list says of a video; none where it was removed meanwhile.
fn read_film(archive: &Archive, place: &ReviewPlace, name: RecordName, has_review: bool) -> Result<Option<ListedFilm>> {
    let record = match archive.read_record(name) {
        Ok(Some(record)) => record,
        Ok(None) => return Ok(None),
        Err(e) => return Ok(Some(faulty(name, &e))),
    };
    let read = || -> Result<(ReviewProgress, ReviewStanding)> {
        let review = if has_review { place.review(archive, name.key)? } else { None };
        match review {
            Some(review) if review.revision > 0 && is_of(&review, name) => {
                Ok((review.progress(), ReviewStanding::Current))
            }
            Some(review) if review.revision > 0 => Ok((review.progress(), ReviewStanding::DescribedAgain)),
            _ => Ok((read_document(archive, name, &record)?.progress(), ReviewStanding::Untouched)),
        }
    };
    let (progress, standing, fault) = match read() {
        Ok((progress, standing)) => (progress, standing, None),
        Err(e) => (ReviewProgress::default(), ReviewStanding::Untouched, Some(e.to_string())),
    };
    Ok(Some(ListedFilm {
        name,
        duration_ms: record.duration_ms,
        progress,
        standing,
        thumbnail: thumbnail(name, &record),
        fault,
        source: record.source,
        video: record.video,
    }))
}

/// A video whose record is damaged.
fn faulty(name: RecordName, e: &Error) -> ListedFilm {
    ListedFilm {
        name,
        video: name.to_string(),
        duration_ms: None,
        progress: ReviewProgress::default(),
        standing: ReviewStanding::Untouched,
        thumbnail: None,
        fault: Some(e.to_string()),
        source: Fingerprint::default(),
    }
}

/// A thumbnail from the first third of a video, where titles are over.
fn thumbnail(name: RecordName, record: &VideoRecord) -> Option<String> {
    let prefix = format!("{THUMBNAILS}/");
    let thumbnails: Vec<&String> = record.files.keys().filter(|file| file.starts_with(&prefix)).collect();
    thumbnails.get(thumbnails.len() / 3).map(|file| video_file(name, file))
}

/// The document of a video's descriptions, which nobody has edited.
///
/// # Errors
/// They cannot be read, or are damaged.
pub(super) fn read_document(archive: &Archive, name: RecordName, record: &VideoRecord) -> Result<ReviewDocument> {
    let path = video_file(name, JSON);
    let shown = archive.shown(&path);
    let bytes = archive.store().read(&path, DESCRIPTIONS_LIMIT)?.ok_or_else(|| {
        let remedy = message!["Run ", Setting::ArchiveRepair, ", then ", Setting::Index, " again."];
        Error::input(&*shown, "is missing", remedy)
    })?;
    let duration = record.duration_ms.filter(|ms| *ms > 0).map(Time::from_millis);
    let film = FilmFacts { name: title(&record.video).into(), duration };
    ReviewDocument::of_json(&bytes, &shown, film, name.state_text())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn film(n: u64, video: &str, unchecked: usize, mean: Option<f32>) -> ListedFilm {
        let last_change = (n.is_multiple_of(2)).then(|| format!("2026-01-0{n}T00:00:00Z"));
        let changes = n % 2;
        let progress = ReviewProgress { cues: 9, unchecked, lowest: mean.map(|m| 1.0 - m), mean, changes, last_change };
        ListedFilm {
            name: RecordName { key: n, state: 0 },
            video: video.into(),
            duration_ms: None,
            progress,
            standing: ReviewStanding::Untouched,
            thumbnail: None,
            fault: None,
            source: Fingerprint::default(),
        }
    }

    fn overview() -> Overview {
        let films = [
            film(1, "/films/b.mp4", 3, Some(0.5)),
            film(2, "/films/A.mp4", 9, Some(0.25)),
            film(3, "/films/done.mp4", 0, None),
            film(4, "/other/c.mp4", 4, None),
            film(5, "/films/d.mp4", 1, Some(0.75)),
        ];
        let known = |film: ListedFilm| (film.name.key, KnownFilm { review: None, film });
        Overview { films: films.into_iter().map(known).collect(), unread: 0, orphans: 0 }
    }

    #[test]
    fn videos_are_listed_in_every_order() {
        let overview = overview();
        let keys = |order, filter, find: &str| -> Vec<u64> {
            let query = ListQuery { order, filter, find: find.into(), skip: 0, limit: 10 };
            overview.list(&query).0.iter().map(|film| film.name.key).collect()
        };
        assert_eq!(keys(ListOrder::LeastCertain, ListFilter::All, ""), [2, 1, 5, 4, 3]);
        assert_eq!(keys(ListOrder::LowestScore, ListFilter::All, ""), [5, 1, 2, 4, 3]);
        assert_eq!(keys(ListOrder::MostUnchecked, ListFilter::All, ""), [2, 4, 1, 5, 3]);
        assert_eq!(keys(ListOrder::LastEdited, ListFilter::All, ""), [4, 2, 1, 5, 3]);
        assert_eq!(keys(ListOrder::Title, ListFilter::All, "FILMS"), [2, 1, 5, 3]);
        assert_eq!(keys(ListOrder::Title, ListFilter::Finished, ""), [3]);
        assert_eq!(keys(ListOrder::Title, ListFilter::Edited, ""), [1, 5, 3]);
        let query = ListQuery { skip: 1, limit: 2, filter: ListFilter::Unfinished, ..ListQuery::default() };
        let (part, total) = overview.list(&query);
        assert_eq!((part.iter().map(|film| film.name.key).collect::<Vec<_>>(), total), (vec![1, 5], 4));
    }
}
