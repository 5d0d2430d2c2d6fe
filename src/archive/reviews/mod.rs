//! Reviews of an archive's videos: what editors made of their descriptions.
//!
//! ```text
//! stored     where reviews are in the archive, and what is in them
//! corrected  keyframes with the words of the editors: for the search index and for exports
//! place      where reviews are: there, or in a folder of their own
//! verify     whether reviews can be read
//! film       the film of a record                    overview  what is known of all films and reviews, for a list
//! desk       the reviews that are open               site      what the pages ask for          page/  the list
//! ```
//!
//! A review belongs to a video, not to one of its states: describing the video again leaves it alone, and so does everything
//! else but its own session, which has it locked. What is known of a review besides, such as its words in the search index,
//! is made from it again when it has changed.

mod corrected;
mod desk;
mod film;
mod overview;
mod place;
mod site;
mod stored;
mod verify;

pub use desk::{OpenFilms, ReviewDesk};
pub use film::FilmPresence;
pub use overview::{ListFilter, ListOrder, ListQuery, ListedFilm, Overview, ReviewStanding};
pub use place::ReviewPlace;
pub use site::{ArchiveSite, ExplainError};
pub use stored::StoredReview;
pub(super) use verify::check_reviews;
