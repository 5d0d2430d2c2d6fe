//! The files of the page: its markup, sheets, icon and scripts, as they are in the program.

use axum::Router;

use crate::look;
use crate::serve::response::asset;

/// The scripts, by their names.
const SCRIPTS: [(&str, &str); 20] = [
    ("/actions.js", include_str!("page/actions.js")),
    ("/around.js", include_str!("page/around.js")),
    ("/candidates.js", include_str!("page/candidates.js")),
    ("/conflict.js", include_str!("page/conflict.js")),
    ("/dialogs.js", include_str!("page/dialogs.js")),
    ("/editor.js", include_str!("page/editor.js")),
    ("/edits.js", include_str!("page/edits.js")),
    ("/elements.js", include_str!("page/elements.js")),
    ("/film.js", include_str!("page/film.js")),
    ("/finder.js", include_str!("page/finder.js")),
    ("/keys.js", include_str!("page/keys.js")),
    ("/list.js", include_str!("page/list.js")),
    ("/player.js", include_str!("page/player.js")),
    ("/review.js", include_str!("page/review.js")),
    ("/rows.js", include_str!("page/rows.js")),
    ("/server.js", include_str!("page/server.js")),
    ("/state.js", include_str!("page/state.js")),
    ("/status.js", include_str!("page/status.js")),
    ("/timeline.js", include_str!("page/timeline.js")),
    ("/voice.js", include_str!("page/voice.js")),
];

/// Adds the paths of these files.
pub(super) fn with_assets<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    let router = router
        .route("/", asset("text/html; charset=utf-8", include_str!("page/index.html")))
        .route("/look.css", asset("text/css; charset=utf-8", look::STYLE))
        .route("/icon.svg", asset("image/svg+xml", look::ICON))
        .route("/review.css", asset("text/css; charset=utf-8", include_str!("page/review.css")));
    let script = |router: Router<_>, (path, body)| router.route(path, asset("text/javascript; charset=utf-8", body));
    SCRIPTS.into_iter().fold(router, script)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A script that is imported and not served would leave the page empty.
    #[test]
    fn every_script_is_served_and_asked_for() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/review/page");
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut there: Vec<String> =
            names.filter(|name| name.ends_with(".js")).map(|name| format!("/{name}")).collect();
        there.sort();
        assert_eq!(SCRIPTS.map(|(path, _)| path.to_string()).to_vec(), there);
        for path in there.iter().filter(|path| *path != "/review.js") {
            assert!(SCRIPTS.iter().any(|(_, body)| body.contains(&format!(" from \".{path}\";"))), "{path}");
        }
    }
}
