//! The film of a record: where it is, and whether it is what was described.

use std::path::Path;

use serde::Serialize;

use crate::address::{Address, is_url};
use crate::archive::catalog::Archive;
use crate::archive::index::file_fingerprint;
use crate::archive::record::{RecordName, VideoRecord};
use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use crate::message;
use crate::message::Setting;

/// Ends the name of a video whose address had a part that is not shown.
const HIDDEN_END: &str = "?…";

/// Whether the file of a video is what was described.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FilmPresence {
    /// It is.
    Here,
    /// It is not there.
    Missing,
    /// It has changed since.
    Changed,
    /// It is on a server, and is not asked for.
    Elsewhere,
}

impl FilmPresence {
    /// `video`: its name in the archive. `described`: what distinguished it when it was described.
    pub(super) fn of(video: &str, described: &Fingerprint) -> FilmPresence {
        if is_url(video) {
            return FilmPresence::Elsewhere;
        }
        match file_fingerprint(Path::new(video)) {
            now if now == Fingerprint::default() => FilmPresence::Missing,
            now if now == *described => FilmPresence::Here,
            _ => FilmPresence::Changed,
        }
    }
}

/// A video's name without folders.
pub(super) fn title(video: &str) -> &str {
    video.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or(video)
}

impl Archive {
    /// The record of a video, by its key; none where there is none.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn find_record(&self, key: u64) -> Result<Option<(RecordName, VideoRecord)>> {
        for name in self.record_states(key)? {
            if let Some(record) = self.read_record(name)? {
                return Ok(Some((name, record)));
            }
        }
        Ok(None)
    }
}

impl VideoRecord {
    /// Where its film can be opened.
    ///
    /// # Errors
    /// If it is not there any more, or the archive does not know its whole address.
    pub fn film(&self) -> Result<Address> {
        let video = self.video.as_str();
        if is_url(video) && video.ends_with(HIDDEN_END) {
            let cause = "the archive does not hold the end of its address, because that may be secret";
            return Err(Error::input(video, cause, "Review this film alone, by its whole address."));
        }
        if FilmPresence::of(video, &self.source) == FilmPresence::Missing {
            let remedy = message![
                "Bring it back to this path. If it was moved, add it where it is now with ",
                Setting::Index,
                "."
            ];
            return Err(Error::input(video, "is not there any more", remedy));
        }
        Ok(Address::new(video))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_film_that_is_gone_or_has_changed_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("film.mp4");
        let video = path.to_str().unwrap();
        fs::write(&path, "one").unwrap();
        let described = file_fingerprint(&path);
        assert_eq!(FilmPresence::of(video, &described), FilmPresence::Here);
        fs::write(&path, "another").unwrap();
        assert_eq!(FilmPresence::of(video, &described), FilmPresence::Changed);
        fs::remove_file(&path).unwrap();
        assert_eq!(FilmPresence::of(video, &described), FilmPresence::Missing);
        assert_eq!(FilmPresence::of("https://host/a.mp4", &Fingerprint::default()), FilmPresence::Elsewhere);
        assert_eq!((title("/films/a b.mp4"), title("s3://bucket/x/"), title("a")), ("a b.mp4", "x", "a"));
    }
}
