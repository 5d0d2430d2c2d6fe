//! What the page of a review asks for, and what it gets: pages, the document, edits, events, pictures, sound and the film.
//!
//! Handlers wait for nothing that takes long: pictures, descriptions and speech are made on threads of their own, two
//! pictures, one description and one text at a time, and the film is converted on the thread of its answer. Memory: [`KEPT`]
//! bytes of pictures, the waveform, what [`ReviewMachines`] keep, and what a film takes that is converted, for each window
//! that plays it.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::sse::{self, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use futures_util::stream::{self, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json as object};
use tokio::sync::{Semaphore, broadcast};
use tokio::task::spawn_blocking;

use super::assets::with_assets;
use super::commands::next_commands;
use super::cue::{CueId, LONGEST_NOTE, LONGEST_TEXT};
use super::document::ReviewDocument;
use super::edit::{Edit, Refusal};
use super::film::{PEAKS, ReviewFilm};
use super::history::Change;
use super::machine::{MachineRoom, ReviewMachines, machine_paths};
use super::made::MadeCache;
use super::renew::Renewal;
use super::requests::parsed;
use super::session::{ReviewEvent, ReviewSession, SaveState};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::lock::lock;
use crate::media::ThumbnailOptions;
use crate::regular_file;
use crate::serve::response::{json, not_found, text, wrong};
use crate::serve::{Peer, ServedFile, serve_file, serve_produced};
use crate::time::Time;
use crate::track::Format;

/// Bytes of pictures that are kept: some 2,000 of them.
const KEPT: usize = 16 << 20;
/// The pictures of the list.
const PICTURE: ThumbnailOptions = ThumbnailOptions { width: 224, quality: 80 };
/// The page is told about new peaks once there are so many of them: five minutes' worth.
const NEWS: usize = 300 * PEAKS as usize;
/// Changes that the page shows.
const SHOWN_CHANGES: usize = 500;
/// Proxies and browsers give up connections that are silent for longer.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A client that takes no event for this long is dropped.
const STALL: Duration = Duration::from_secs(20);
/// A picture of a film's frame never changes: its address has the film's key.
const FOR_GOOD: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");
/// The page reads how many peaks of the waveform make a second.
const RATE: HeaderName = HeaderName::from_static("descry-rate");

/// What all requests share.
pub struct ReviewSite {
    session: Arc<ReviewSession>,
    film: ReviewFilm,
    machines: Arc<MachineRoom>,
    interrupt: Interrupt,
    key: String,
    /// By their times in milliseconds.
    pictures: Mutex<MadeCache<u32>>,
    peaks: Mutex<Vec<u8>>,
    decoding: Semaphore,
    /// Tells the page that there is more of the waveform.
    heard: broadcast::Sender<()>,
    notes: SiteNotes,
}

/// What the page shows besides the review.
#[derive(Debug, Clone, Default)]
pub struct SiteNotes {
    /// If the film is in an archive: the arguments with which `descry review` opens that. The page is one of many then, and
    /// links to their list. Default: none.
    pub archive: Option<Vec<String>>,
    /// What became of the review when the film was described again. Default: none.
    pub renewal: Option<Renewal>,
}

impl ReviewSite {
    /// What a page shows of a film.
    pub fn new(
        session: Arc<ReviewSession>,
        film: ReviewFilm,
        machines: ReviewMachines,
        interrupt: Interrupt,
    ) -> ReviewSite {
        ReviewSite {
            key: film.key(),
            session,
            film,
            machines: Arc::new(MachineRoom::new(machines)),
            interrupt,
            pictures: Mutex::new(MadeCache::new(KEPT)),
            peaks: Mutex::default(),
            decoding: Semaphore::new(2),
            heard: broadcast::channel(4).0,
            notes: SiteNotes::default(),
        }
    }

    /// The same with what its page shows besides.
    #[must_use]
    pub fn with_notes(self, notes: SiteNotes) -> ReviewSite {
        ReviewSite { notes, ..self }
    }

    /// Reads the sound of the film for the waveform, on a thread of its own. It takes as long as decoding the sound. None if
    /// the system refuses a thread: without a waveform, everything else works.
    pub fn start_listening(self: Arc<ReviewSite>) -> Option<JoinHandle<Result<()>>> {
        Builder::new().name("waveform".into()).spawn(move || self.listen()).ok()
    }

    fn listen(&self) -> Result<()> {
        // The page loads all of it again each time.
        let mut untold = 0;
        let read = self.film.waveform(self.interrupt.clone(), |peaks| {
            lock(&self.peaks).extend_from_slice(peaks);
            untold += peaks.len();
            if untold >= NEWS {
                untold = 0;
                let _ = self.heard.send(());
            }
            true
        });
        let _ = self.heard.send(());
        read
    }

    /// The paths of the page.
    pub fn router(self: Arc<ReviewSite>) -> Router {
        with_assets(Router::new())
            .route("/api/review", get(review))
            .route("/api/edit", post(edit))
            .route("/api/history", get(history))
            .route("/api/disk", post(disk))
            .route("/api/events", get(events))
            .route("/picture/{key}/{file}", get(picture))
            .route("/waveform", get(waveform))
            .route("/film", get(film))
            .route("/film.webm", get(preview))
            .route("/export/{format}", get(export))
            .merge(machine_paths(self.machines.clone()))
            .fallback(async || not_found())
            .with_state(self)
    }
}

type SiteState = State<Arc<ReviewSite>>;

async fn review(State(site): SiteState) -> Response {
    let info = site.film.info();
    let film = object!({
        "playback": site.film.playback(),
        "duration": site.film.duration().map(Time::secs),
        "frame_rate": info.frame_rate,
        "has_sound": info.has_side_track(),
        "key": site.key,
        "model": site.machines.machines().model(),
        "voice": site.machines.machines().voice(),
    });
    let archive = site.notes.archive.as_deref();
    let commands = site.session.path().map_or(Vec::new(), |path| next_commands(&site.film, &path, archive));
    let value = site.session.read(|document, saved, facts| {
        let mut film = film;
        film["name"] = object!(document.film.name);
        object!({
            "document": without_history(document),
            "facts": facts,
            "rules": site.session.rules(),
            "limits": { "text": LONGEST_TEXT, "note": LONGEST_NOTE },
            "film": film,
            "pauses": document.timeline.pauses(document.end()),
            "saved": saved,
            "in_archive": site.notes.archive.is_some(),
            "renewal": site.notes.renewal,
            "commands": commands,
        })
    });
    json(StatusCode::OK, &value)
}

/// The document as the page needs it.
fn without_history(document: &ReviewDocument) -> Value {
    object!({
        "revision": document.revision,
        "language": document.language,
        "source": document.source,
        "cues": document.cues,
        "glossary": document.glossary,
        "notes": document.notes,
        "timeline": document.timeline,
    })
}

/// What an editor sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EditRequest {
    edit: Edit,
    #[serde(default)]
    who: String,
}

async fn edit(State(site): SiteState, body: Bytes) -> Response {
    let request: EditRequest = match parsed(&body) {
        Ok(request) => request,
        Err(answer) => return answer,
    };
    match site.session.edit(&request.edit, &request.who) {
        Ok(report) => json(StatusCode::OK, &object!(*report)),
        Err(Refusal::Impossible(why)) => wrong(StatusCode::UNPROCESSABLE_ENTITY, why),
        Err(conflict @ Refusal::Conflict { .. }) => {
            let words = conflict.to_string();
            let Refusal::Conflict { cues } = conflict else { return wrong(StatusCode::CONFLICT, words) };
            let now: Vec<Value> =
                site.session.read(|document, _, _| cues.iter().map(|id| as_it_is(document, *id)).collect());
            json(StatusCode::CONFLICT, &object!({ "error": words, "cues": now }))
        }
    }
}

/// A cue as it is now.
fn as_it_is(document: &ReviewDocument, id: CueId) -> Value {
    document.cue(id).map_or_else(|| object!({ "id": id, "deleted": true }), |cue| object!(cue))
}

/// The latest changes, the newest first.
async fn history(State(site): SiteState) -> Response {
    let changes: Vec<Value> =
        site.session.read(|document, _, _| document.history.iter().rev().take(SHOWN_CHANGES).map(summary).collect());
    json(StatusCode::OK, &object!({ "changes": changes }))
}

fn summary(change: &Change) -> Value {
    let texts = |cues: &[super::ReviewCue]| cues.iter().map(|cue| cue.text.clone()).collect::<Vec<_>>().join(" / ");
    let (before, after) = (texts(&change.before.cues), texts(&change.after.cues));
    let words = if before == after { after } else { format!("{before} → {after}") };
    let words: String = words.chars().take(LONGEST_TEXT).collect();
    object!({ "revision": change.revision, "time": change.time, "who": change.who, "what": change.what, "words": words })
}

/// Which of two versions of the file stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskRequest {
    take: TakenVersion,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum TakenVersion {
    Mine,
    Theirs,
}

async fn disk(State(site): SiteState, body: Bytes) -> Response {
    let request: DiskRequest = match parsed(&body) {
        Ok(request) => request,
        Err(answer) => return answer,
    };
    let taken = match request.take {
        TakenVersion::Mine => site.session.take_mine(),
        TakenVersion::Theirs => site.session.take_theirs(),
    };
    match taken {
        Ok(()) => json(StatusCode::OK, &object!({})),
        Err(e) => wrong(StatusCode::UNPROCESSABLE_ENTITY, e),
    }
}

/// One event of the stream.
fn message(event: &ReviewEvent) -> sse::Event {
    let (name, data) = match event {
        ReviewEvent::Change(report) => ("change", object!(**report)),
        ReviewEvent::Save(saved @ SaveState::ChangedOnDisk { .. }) => ("disk", object!(saved)),
        ReviewEvent::Save(saved) => ("saved", object!(saved)),
        ReviewEvent::Document => ("document", object!({})),
    };
    sse::Event::default().event(name).data(data.to_string())
}

/// Server-sent events: what others change, what becomes of the file, and how much of the sound was read.
async fn events(State(site): SiteState, Extension(peer): Extension<Peer>) -> Response {
    peer.limit_stall(STALL);
    let followed = (site.session.follow(), site.heard.subscribe());
    let stream = stream::unfold(followed, async |(mut events, mut heard)| {
        let event = tokio::select! {
            event = events.recv() => match event {
                Ok(event) => message(&event),
                // It has missed something, and must load everything.
                Err(broadcast::error::RecvError::Lagged(_)) => message(&ReviewEvent::Document),
                Err(broadcast::error::RecvError::Closed) => return None,
            },
            more = heard.recv() => match more {
                Ok(()) | Err(broadcast::error::RecvError::Lagged(_)) => sse::Event::default().event("waveform").data("{}"),
                Err(broadcast::error::RecvError::Closed) => return None,
            },
            () = tokio::time::sleep(KEEP_ALIVE) => sse::Event::default().comment("still here"),
        };
        Some((event, (events, heard)))
    });
    Sse::new(stream.map(Ok::<_, Infallible>)).into_response()
}

/// `/picture/KEY/MILLISECONDS.jpg`: the frame at a time, small.
async fn picture(State(site): SiteState, Path((key, file)): Path<(String, String)>) -> Response {
    let at = file.strip_suffix(".jpg").and_then(|at| at.parse::<u32>().ok());
    let Some(at) = at.filter(|_| key == site.key) else { return not_found() };
    let jpeg = |bytes: Arc<[u8]>| {
        let kind = (CONTENT_TYPE, HeaderValue::from_static("image/jpeg"));
        ([kind, (CACHE_CONTROL, FOR_GOOD)], Bytes::from_owner(bytes)).into_response()
    };
    if let Some(bytes) = lock(&site.pictures).get(&at) {
        return jpeg(bytes);
    }
    let Ok(_turn) = site.decoding.acquire().await else { return not_found() };
    // Somebody else may have asked for it meanwhile.
    if let Some(bytes) = lock(&site.pictures).get(&at) {
        return jpeg(bytes);
    }
    let worker = site.clone();
    let time = Time::from_millis(i64::from(at));
    let made = spawn_blocking(move || worker.film.picture(time, PICTURE, worker.interrupt.clone()));
    match made.await {
        Ok(Ok(Some(bytes))) => {
            let bytes: Arc<[u8]> = bytes.into();
            lock(&site.pictures).add(at, bytes.clone());
            jpeg(bytes)
        }
        _ => not_found(),
    }
}

/// The peaks that are known, a byte each.
async fn waveform(State(site): SiteState) -> Response {
    let peaks = lock(&site.peaks).clone();
    let kind = (CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    ([kind, (RATE, HeaderValue::from(PEAKS))], peaks).into_response()
}

/// The file itself.
async fn film(
    State(site): SiteState,
    Extension(peer): Extension<Peer>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let Some(path) = site.film.path() else { return not_found() };
    let opened =
        regular_file::open(path).and_then(|file| ServedFile::open(file, HeaderValue::from_static("video/mp4")));
    match opened {
        Ok(file) => serve_file(&peer, &method, &headers, file),
        Err(e) => wrong(StatusCode::NOT_FOUND, Error::read(path.display().to_string(), &e)),
    }
}

/// The film as WebM, from a time on.
async fn preview(State(site): SiteState, Extension(peer): Extension<Peer>, method: Method, uri: Uri) -> Response {
    let from = uri.query().and_then(|query| query.strip_prefix("from=")).and_then(|from| from.parse::<f64>().ok());
    let Some(from) = from.filter(|from| (0.0..=1e7).contains(from)) else {
        return text(StatusCode::BAD_REQUEST, "This is no time in a film.");
    };
    let kind = HeaderValue::from_static("video/webm");
    serve_produced(&peer, &method, kind, move |to| {
        // A decoder that waits for its input must not wait longer than somebody watches.
        let interrupt = Interrupt::new();
        let stop = interrupt.clone();
        to.when_gone(move || {
            stop.set();
        });
        site.film.preview(Time::from_secs(from), interrupt, to).map_err(|e| std::io::Error::other(e.to_string()))
    })
}

/// The track in a format, to be saved.
async fn export(State(site): SiteState, Path(end): Path<String>) -> Response {
    let formats = [Format::Vtt, Format::Srt, Format::Json, Format::Csv, Format::Dapt, Format::Html];
    let Some(format) = formats.into_iter().find(|format| format.extension() == end) else { return not_found() };
    let folder = site.film.path().and_then(std::path::Path::parent).unwrap_or(std::path::Path::new("/"));
    let (written, name) =
        site.session.read(|document, _, _| (document.export(format, folder), document.film.name.clone()));
    let Ok(bytes) = written else { return wrong(StatusCode::INTERNAL_SERVER_ERROR, "The track cannot be written.") };
    let stem: String = name.rsplit_once('.').map_or(&*name, |(stem, _)| stem).chars().map(plain).collect();
    let attachment = format!("attachment; filename=\"{stem}.{end}\"");
    let disposition = HeaderValue::from_str(&attachment).unwrap_or(HeaderValue::from_static("attachment"));
    let kind = (CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    ([kind, (CONTENT_DISPOSITION, disposition)], bytes).into_response()
}

/// A character that every header and every file system can hold.
fn plain(c: char) -> char {
    if c.is_ascii_alphanumeric() || "-_. ".contains(c) { c } else { '_' }
}
