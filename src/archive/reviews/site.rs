//! What the pages of an archive's reviews ask for: the list of its films, and the page of each film below `/films/KEY/`.
//!
//! The list is answered a page at a time, from an [`Overview`] that each request refreshes for a limited time. The paths
//! below `/films/KEY/` are those of the [`ReviewSite`](crate::review::ReviewSite) of one film. Memory: as [`Overview`] and
//! [`ReviewDesk`].

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json as object};
use tokio::task::spawn_blocking;

use super::desk::ReviewDesk;
use super::film::FilmPresence;
use super::overview::{ListFilter, ListOrder, ListQuery, ListedFilm, Overview};
use crate::error::{Error, Result};
use crate::lock::lock;
use crate::look;
use crate::markup::escape;
use crate::serve::response::{asset, json, not_found, wrong};

/// Films on one page of the list.
const PAGE: usize = 50;
/// How long a request reads films of which nothing is known yet.
const READING: Duration = Duration::from_millis(250);
/// The paths of films.
const FILMS: &str = "/films/";
/// Most characters of a name that is looked for.
const LONGEST_FIND: usize = 200;

/// Puts an error into words for the page.
pub type ExplainError = fn(&Error) -> String;

/// What all requests share.
pub struct ArchiveSite {
    desk: Arc<ReviewDesk>,
    overview: Mutex<Overview>,
    explain: ExplainError,
}

impl ArchiveSite {
    /// The site of the reviews on a desk.
    pub fn new(desk: Arc<ReviewDesk>, explain: ExplainError) -> ArchiveSite {
        ArchiveSite { desk, overview: Mutex::default(), explain }
    }

    /// The paths of all pages.
    pub fn router(self: Arc<ArchiveSite>) -> Router {
        Router::new()
            .route("/", asset("text/html; charset=utf-8", include_str!("page/films.html")))
            .route("/look.css", asset("text/css; charset=utf-8", look::STYLE))
            .route("/icon.svg", asset("image/svg+xml", look::ICON))
            .route("/films.css", asset("text/css; charset=utf-8", include_str!("page/films.css")))
            .route("/films.js", asset("text/javascript; charset=utf-8", include_str!("page/films.js")))
            .route("/api/films", post(films))
            .route("/thumbnail/{file}", get(thumbnail))
            // Of a film, a router of its own knows the paths.
            .fallback(film)
            .with_state(self)
    }

    /// A part of the list, as the page gets it.
    fn list(&self, query: &ListQuery) -> Result<Value> {
        let mut overview = lock(&self.overview);
        overview.refresh(self.desk.archive(), self.desk.place(), READING)?;
        // Of what is open, the newest state may not be on the disk yet.
        for (key, progress) in self.desk.progress() {
            overview.set_progress(key, progress);
        }
        let (films, total) = overview.list(query);
        Ok(object!({
            "archive": self.desk.archive().location(),
            "films": films.into_iter().map(row).collect::<Vec<Value>>(),
            "skip": query.skip,
            "total": total,
            "known": overview.known(),
            "unread": overview.unread(),
            "orphans": overview.orphans(),
        }))
    }
}

type ArchiveSiteState = State<Arc<ArchiveSite>>;

/// A film as the list shows it.
fn row(film: &ListedFilm) -> Value {
    object!({
        "key": format!("{:016x}", film.name.key),
        "title": film.title(),
        "video": film.video,
        "duration": film.duration_ms.map(|ms| ms as f64 / 1e3),
        "progress": film.progress,
        "standing": film.standing,
        // A damaged record does not say where its film is.
        "presence": if film.fault.is_some() { FilmPresence::Here } else { film.presence() },
        "has_thumbnail": film.thumbnail.is_some(),
        "fault": film.fault,
    })
}

/// Which part of the list is asked for.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ListRequest {
    order: String,
    show: String,
    find: String,
    page: usize,
}

impl ListRequest {
    fn query(&self) -> Option<ListQuery> {
        let order = match self.order.as_str() {
            "" | "mean" => ListOrder::LeastCertain,
            "lowest" => ListOrder::LowestScore,
            "unchecked" => ListOrder::MostUnchecked,
            "edited" => ListOrder::LastEdited,
            "title" => ListOrder::Title,
            _ => return None,
        };
        let filter = match self.show.as_str() {
            "" | "all" => ListFilter::All,
            "unfinished" => ListFilter::Unfinished,
            "finished" => ListFilter::Finished,
            "edited" => ListFilter::Edited,
            _ => return None,
        };
        let skip = self.page.saturating_sub(1).saturating_mul(PAGE);
        let find = self.find.trim().to_string();
        (find.chars().count() <= LONGEST_FIND).then_some(ListQuery { order, filter, find, skip, limit: PAGE })
    }
}

async fn films(State(site): ArchiveSiteState, body: Bytes) -> Response {
    let query = serde_json::from_slice(&body).ok().and_then(|request: ListRequest| request.query());
    let Some(query) = query else { return wrong(StatusCode::BAD_REQUEST, "This is no part of the list.") };
    let worker = site.clone();
    match spawn_blocking(move || worker.list(&query)).await {
        Ok(Ok(list)) => json(StatusCode::OK, &list),
        Ok(Err(e)) => wrong(StatusCode::INTERNAL_SERVER_ERROR, (site.explain)(&e)),
        Err(_) => wrong(StatusCode::INTERNAL_SERVER_ERROR, "Listing the films failed."),
    }
}

/// `/thumbnail/KEY.jpg`: a picture of a film.
async fn thumbnail(State(site): ArchiveSiteState, Path(file): Path<String>) -> Response {
    let Some(key) = file.strip_suffix(".jpg").and_then(parse_key) else { return not_found() };
    let read = spawn_blocking(move || {
        let path = lock(&site.overview).film(key)?.thumbnail.clone()?;
        site.desk.archive().read_thumbnail(&path).ok()?
    });
    match read.await {
        Ok(Some(bytes)) => {
            ([(CONTENT_TYPE, HeaderValue::from_static("image/jpeg"))], Bytes::from(bytes)).into_response()
        }
        _ => not_found(),
    }
}

fn parse_key(digits: &str) -> Option<u64> {
    let is_hex = digits.len() == 16 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_hex.then(|| u64::from_str_radix(digits, 16).ok())?
}

/// Everything below `/films/KEY/`.
async fn film(State(site): ArchiveSiteState, mut request: Request) -> Response {
    let path = request.uri().path();
    let Some((key, rest)) = path.strip_prefix(FILMS).map(|below| below.split_at_checked(16).unwrap_or(("", ""))) else {
        return not_found();
    };
    let Some(key) = parse_key(key) else { return not_found() };
    if rest.is_empty() {
        // The page names everything from its own folder on.
        let folder = HeaderValue::from_str(&format!("{path}/"));
        let Ok(folder) = folder else { return not_found() };
        return (StatusCode::PERMANENT_REDIRECT, [(LOCATION, folder)]).into_response();
    }
    if !rest.starts_with('/') {
        return not_found();
    }
    let inner = request.uri().query().map_or_else(|| rest.to_string(), |query| format!("{rest}?{query}"));
    let is_page = rest == "/";
    let Ok(inner) = PathAndQuery::try_from(inner) else { return not_found() };
    let open = match site.desk.review(key).await {
        Ok(open) => open,
        Err(e) => return unopened(&(site.explain)(&e), is_page),
    };
    *request.uri_mut() = Uri::from(inner);
    match TowerToHyperService::new(open.router.clone()).call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// The answer for a film that cannot be opened: a page for people, otherwise JSON.
fn unopened(why: &str, is_page: bool) -> Response {
    if !is_page {
        return wrong(StatusCode::UNPROCESSABLE_ENTITY, why);
    }
    let page = include_str!("page/unopened.html").replace("{why}", &escape(why));
    (StatusCode::UNPROCESSABLE_ENTITY, [(CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}
