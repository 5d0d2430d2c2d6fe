//! Edits as editors make them, one after another.

use proptest::prelude::*;

use super::*;
use crate::time::Time;

pub(super) fn ms(millis: i64) -> Time {
    Time::from_millis(millis)
}

pub(super) fn film() -> FilmFacts {
    FilmFacts { name: "film.mp4".into(), duration: Some(ms(60_000)) }
}

/// A cue of the machine; its scene has the position before its number.
pub(super) fn cue(id: u32, start: i64, end: i64, text: &str) -> ReviewCue {
    let (start, end) = (ms(start), ms(end));
    ReviewCue {
        id: CueId(id),
        start,
        end,
        text: text.into(),
        checked: false,
        note: String::new(),
        version: 0,
        machine: Some(MachineCue { start, end, text: text.into(), scene: Some(id as usize - 1) }),
    }
}

pub(super) fn scene(start: i64, end: i64, score: Option<f32>) -> SceneMark {
    SceneMark {
        start: ms(start),
        end: ms(end),
        keyframe: ms(start),
        transition: "cut".into(),
        text: Some("a dog".into()),
        score,
        said: true,
    }
}

pub(super) fn document(cues: Vec<ReviewCue>) -> ReviewDocument {
    let source = CueSource::Described { model: "descry-builtin 1".into(), state: None };
    ReviewDocument::new(film(), source, "en", cues, FilmTimeline::default())
}

/// A cue as it is now.
pub(super) fn seen(document: &ReviewDocument, id: u32) -> SeenCue {
    SeenCue { id: CueId(id), version: document.cue(CueId(id)).unwrap().version }
}

/// Makes an edit that must succeed, at a time of one day.
pub(super) fn edit(document: &mut ReviewDocument, edit: Edit, clock: &str) -> u64 {
    let time = format!("2026-01-01T{clock}Z");
    document.edit(&edit, "ann", &time).unwrap().expect("a change").revision
}

fn texts(document: &ReviewDocument) -> Vec<&str> {
    document.cues.iter().map(|cue| &*cue.text).collect()
}

/// What of a document undoing brings back.
fn content(document: &ReviewDocument) -> (Vec<ReviewCue>, Vec<GlossaryTerm>, String) {
    let cues = document.cues.iter().map(|cue| ReviewCue { version: 0, ..cue.clone() }).collect();
    (cues, document.glossary.clone(), document.notes.clone())
}

fn two() -> ReviewDocument {
    document(vec![cue(1, 0, 2_000, "A dog runs."), cue(2, 2_000, 4_000, "A cat sits.")])
}

fn to(text: &str) -> NewParts {
    NewParts { text: Some(text.into()), ..NewParts::default() }
}

#[test]
fn every_kind_of_edit_can_be_undone_and_done_again() {
    let mut film = two();
    let terms = vec![GlossaryTerm { term: " Thom\n".into(), note: "the hero".into() }];
    let restored = {
        let mut film = two();
        let second = seen(&film, 2);
        edit(&mut film, Edit::Delete { cues: vec![second] }, "00:00:00");
        film
    };
    let one = SeenCue { id: CueId(1), version: 0 };
    let both = vec![one, SeenCue { id: CueId(2), version: 0 }];
    let replacement =
        Replacement { find: "a".into(), with: "the".into(), match_case: false, whole_words: true, cues: None };
    let kinds = [
        (
            Edit::Change { cue: one, to: to("A wolf runs."), continues: None },
            "edit",
            vec!["A wolf runs.", "A cat sits."],
        ),
        (
            Edit::Split { cue: one, at: ms(500), first: "A dog.".into(), second: "It runs.".into() },
            "split",
            vec!["A dog.", "It runs.", "A cat sits."],
        ),
        (Edit::Merge { first: both[0], second: both[1] }, "merge", vec!["A dog runs. A cat sits."]),
        (Edit::Delete { cues: both.clone() }, "delete", vec![]),
        (
            Edit::Add { start: ms(1_000), end: ms(2_000), text: " A hen. ".into() },
            "add",
            vec!["A dog runs.", "A hen.", "A cat sits."],
        ),
        (Edit::Check { cues: both, checked: true }, "check", vec!["A dog runs.", "A cat sits."]),
        (Edit::Replace(replacement), "replace", vec!["the dog runs.", "the cat sits."]),
        (Edit::Glossary { terms, seen: 0 }, "glossary", vec!["A dog runs.", "A cat sits."]),
        (Edit::Notes { notes: "Be brief.".into(), seen: 0 }, "notes", vec!["A dog runs.", "A cat sits."]),
    ];
    for (kind, what, expected) in kinds {
        let before = content(&film);
        let mut edited = film.clone();
        let done = edit(&mut edited, kind, "00:00:00");
        assert_eq!((texts(&edited), &*edited.change(done).unwrap().what), (expected, what));
        let after = content(&edited);
        assert_ne!(before, after);
        let undone = edit(&mut edited, Edit::Undo { revision: done }, "00:00:01");
        assert_eq!((content(&edited), &*edited.change(undone).unwrap().what), (before, "undo"));
        let again = edit(&mut edited, Edit::Undo { revision: undone }, "00:00:02");
        assert_eq!((content(&edited), &*edited.change(again).unwrap().what), (after, "redo"));
        assert_eq!(edited.fault(), None, "{what}");
    }
    film = restored;
    let restore = edit(&mut film, Edit::Restore { id: CueId(2) }, "00:00:00");
    assert_eq!((texts(&film), film.deleted.len()), (vec!["A dog runs.", "A cat sits."], 0));
    edit(&mut film, Edit::Undo { revision: restore }, "00:00:01");
    assert_eq!((texts(&film), film.deleted.len()), (vec!["A dog runs."], 1));
}

#[test]
fn two_editors_do_not_overwrite_each_other() {
    let mut film = two();
    let first = seen(&film, 1);
    edit(&mut film, Edit::Change { cue: first, to: to("A wolf runs."), continues: None }, "00:00:00");
    let before = film.clone();
    let conflict = |film: &mut ReviewDocument, edit: &Edit| match film.edit(edit, "bob", "t") {
        Err(Refusal::Conflict { cues }) => cues,
        other => panic!("{other:?}"),
    };
    for stale in [
        Edit::Change { cue: first, to: to("A fox runs."), continues: None },
        Edit::Delete { cues: vec![first] },
        Edit::Merge { first, second: seen(&two(), 2) },
        Edit::Check { cues: vec![seen(&two(), 2), first], checked: true },
    ] {
        assert_eq!(conflict(&mut film, &stale), [CueId(1)]);
    }
    let notes = |notes: &str, seen| Edit::Notes { notes: notes.into(), seen };
    edit(&mut film, notes("Ann's.", 1), "00:00:00");
    assert_eq!(conflict(&mut film, &notes("Bob's.", 1)), []);
    assert_eq!((&*film.notes, film.cues.clone()), ("Ann's.", before.cues));
    // Bob can edit what Ann has left alone.
    let second = seen(&film, 2);
    edit(&mut film, Edit::Change { cue: second, to: to("A lynx sits."), continues: None }, "00:00:00");
    // What was changed again afterwards is not undone.
    let second = seen(&film, 2);
    let older = film.revision;
    edit(&mut film, Edit::Change { cue: second, to: to("A lynx lies."), continues: None }, "00:00:00");
    assert_eq!(conflict(&mut film, &Edit::Undo { revision: older }), [CueId(2)]);
}

#[test]
fn impossible_edits_are_refused_with_words() {
    let film = two();
    let one = seen(&film, 1);
    let times = |start, end| NewParts { start: Some(ms(start)), end: Some(ms(end)), ..NewParts::default() };
    let refused = |edit: Edit| {
        let mut edited = film.clone();
        let words = match edited.edit(&edit, "ann", "t") {
            Err(Refusal::Impossible(words)) => words,
            other => panic!("{other:?}"),
        };
        assert_eq!(edited, film);
        words
    };
    let change = |to| Edit::Change { cue: one, to, continues: None };
    assert!(refused(change(times(-1, 500))).contains("within the film"));
    assert!(refused(change(times(0, 60_001))).contains("within the film"));
    assert!(refused(change(times(500, 599))).contains("0.1 s"));
    assert!(refused(change(to(&"a".repeat(LONGEST_TEXT + 1)))).contains("2000"));
    let split = |at| Edit::Split { cue: one, at: ms(at), first: "a".into(), second: "b".into() };
    assert!(refused(split(0)).contains("within it"));
    assert!(refused(split(2_000)).contains("within it"));
    assert!(refused(split(50)).contains("0.1 s"));
    assert!(refused(Edit::Merge { first: seen(&film, 2), second: one }).contains("follow"));
    assert!(refused(Edit::Delete { cues: vec![one, one] }).contains("twice"));
    assert!(refused(Edit::Delete { cues: Vec::new() }).contains("No cue"));
    assert!(refused(Edit::Restore { id: CueId(9) }).contains("deleted"));
    assert!(refused(Edit::Undo { revision: 9 }).contains("too old"));
}

#[test]
fn typing_is_one_change() {
    let mut film = two();
    let mut last = None;
    for (second, text) in ["A", "A w", "A wolf"].into_iter().enumerate() {
        let one = seen(&film, 1);
        let change = Edit::Change { cue: one, to: to(text), continues: last };
        last = Some(edit(&mut film, change, &format!("00:00:0{second}")));
    }
    assert_eq!((film.history.len(), film.revision), (1, 3));
    assert_eq!(film.history[0].since.as_deref(), Some("2026-01-01T00:00:00Z"));
    // Somebody else's typing, or that of another cue, is another change.
    let one = seen(&film, 1);
    film.edit(&Edit::Change { cue: one, to: to("A wolf!"), continues: last }, "bob", "t").unwrap();
    assert_eq!(film.history.len(), 2);
    edit(&mut film, Edit::Undo { revision: 4 }, "00:00:09");
    let last = edit(&mut film, Edit::Undo { revision: 3 }, "00:00:09");
    assert_eq!(texts(&film)[0], "A dog runs.");
    edit(&mut film, Edit::Undo { revision: last }, "00:00:09");
    assert_eq!(texts(&film)[0], "A wolf");
}

#[test]
fn an_edit_that_changes_nothing_is_no_change() {
    let mut film = two();
    let before = film.clone();
    let one = seen(&film, 1);
    assert_eq!(film.edit(&Edit::Change { cue: one, to: to(" A dog runs. "), continues: None }, "ann", "t"), Ok(None));
    assert_eq!(film, before);
}

#[test]
fn the_history_is_bounded() {
    let mut film = two();
    for n in 0..=changes::MOST_CHANGES {
        let one = seen(&film, 1);
        film.edit(&Edit::Check { cues: vec![one], checked: n % 2 == 0 }, "ann", "t").unwrap().unwrap();
    }
    assert_eq!(film.history.len() as u64 + film.forgotten, film.revision);
    assert!(film.history.len() <= changes::MOST_CHANGES && film.forgotten > 0);
    let last = film.revision;
    assert!(film.change(last).is_some() && film.change(1).is_none());
}

#[test]
fn an_edit_is_read_from_json() {
    let read = |json: &str| serde_json::from_str::<Edit>(json);
    let edit = read(r#"{"do":"change","cue":{"id":1,"version":0},"to":{"start":1.5,"text":"x"}}"#).unwrap();
    let to = NewParts { start: Some(ms(1_500)), ..to("x") };
    assert_eq!(edit, Edit::Change { cue: SeenCue { id: CueId(1), version: 0 }, to, continues: None });
    for bad in [
        r#"{"do":"change","cue":{"id":1},"to":{}}"#,
        r#"{"do":"format","disk":"c"}"#,
        r#"{"do":"add","start":1e99,"end":2,"text":""}"#,
        r#"{"do":"add","start":null,"end":2,"text":""}"#,
        r#"{"do":"change","cue":{"id":1,"version":0},"to":{"colour":"red"}}"#,
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

/// An edit of some kind, of some of the cues that are there.
fn some_edit(film: &ReviewDocument, kind: u8, a: usize, b: i64) -> Option<Edit> {
    let cue = |n: usize| film.cues.get(n % film.cues.len().max(1)).map(|c| SeenCue { id: c.id, version: c.version });
    let text = format!("text {a} {b}");
    Some(match kind % 8 {
        0 => Edit::Change { cue: cue(a)?, to: to(&text), continues: None },
        1 => Edit::Change {
            cue: cue(a)?,
            to: NewParts { start: Some(ms(b)), end: Some(ms(b + 700)), ..NewParts::default() },
            continues: None,
        },
        2 => Edit::Split { cue: cue(a)?, at: ms(b), first: text.clone(), second: text },
        3 => Edit::Merge { first: cue(a)?, second: cue(a + 1)? },
        4 => Edit::Delete { cues: vec![cue(a)?] },
        5 => Edit::Add { start: ms(b), end: ms(b + 500), text },
        6 => Edit::Restore { id: film.deleted.get(a % film.deleted.len().max(1))?.id },
        _ => Edit::Check { cues: vec![cue(a)?], checked: b % 2 == 0 },
    })
}

proptest! {
    /// Whatever was done, undoing all of it in reverse brings back the first state, and the document stays sound.
    #[test]
    fn everything_can_be_undone(steps in prop::collection::vec((0u8..8, 0usize..9, 0i64..9_000), 1..40)) {
        let mut film = two();
        let first = content(&film);
        let mut done = Vec::new();
        for (kind, a, b) in steps {
            let Some(edit) = some_edit(&film, kind, a, b) else { continue };
            if let Ok(Some(change)) = film.edit(&edit, "ann", "t") {
                done.push(change.revision);
            }
            prop_assert_eq!(film.fault(), None);
            prop_assert!(film.cues.is_sorted_by_key(|cue| (cue.start, cue.id)));
        }
        for revision in done.into_iter().rev() {
            film.edit(&Edit::Undo { revision }, "ann", "t").unwrap();
            prop_assert_eq!(film.fault(), None);
        }
        prop_assert_eq!(content(&film), first);
        let json = serde_json::to_string(&film).unwrap();
        prop_assert_eq!(serde_json::from_str::<ReviewDocument>(&json).unwrap(), film);
    }
}

/// The page is served at `/`, and below the folder of each film of an archive.
#[test]
fn the_page_names_everything_from_its_own_folder_on() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/review/page");
    let mut lines = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            lines += 1;
            // A path in quotes, as in `"/api/edit"`.
            let mut starts = line.split(['"', '`', '\'']).skip(1).filter(|part| part.starts_with('/'));
            let path_like = |part: &&str| part[1..].starts_with(|c: char| c.is_ascii_lowercase());
            assert!(!starts.any(|part| path_like(&part)), "{}: {line}", path.display());
        }
    }
    assert!(lines > 500, "the page is not read");
}
