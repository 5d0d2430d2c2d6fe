//! Repeats a run with a fault at one call after another.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Output;

use crate::common::Bench;
use crate::common::archive_files::tree;
use crate::shim::{Call, FAULTS, Fault, count, with_fault};
use crate::{Random, everything};

/// A run that is to fail.
pub(crate) struct Attempt<'a> {
    /// Its arguments.
    pub(crate) args: Vec<&'a str>,
    /// The folder whose calls fail.
    pub(crate) below: &'a str,
    /// The exit code of an undisturbed run.
    pub(crate) whole: i32,
    /// The exit code of a run that does not absorb the fault.
    pub(crate) code: i32,
    /// Another one that it may have.
    pub(crate) or_code: i32,
    /// Try only this many, even when everything is tried: the run is slow.
    pub(crate) most: usize,
    /// Faults that once did harm, which a sample has always: at calls of this name, with paths that end so.
    pub(crate) known: &'a [(Fault, &'a str, &'a str)],
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(args: Vec<&'a str>, below: &'a str, code: i32) -> Attempt<'a> {
        Attempt { args, below, whole: 0, code, or_code: code, most: usize::MAX, known: &[] }
    }
}

/// Repeats a run with a fault at each call, or at a sample of them. `prepare` makes the folder as it was before the run.
/// `examine` looks at what the run left: whether it reported success, and what to say when something is wrong.
pub(crate) fn each_call(b: &Bench, attempt: &Attempt<'_>, prepare: &dyn Fn(), examine: &dyn Fn(bool, &str)) {
    let Attempt { args, below, whole, .. } = attempt;
    prepare();
    let (out, calls) = count(b, args, below);
    assert_eq!(out.status.code(), Some(*whole), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(calls.len() > 5, "{calls:?}");
    examine(true, "undisturbed");
    let reports = causes(&errors(&out));
    let (mut tried, mut absorbed, mut wrong) = (0, 0, Vec::new());
    for (fault, at) in sample(&calls, attempt) {
        let about = format!("descry {} with {fault:?} at call {at}, {}", args[..2].join(" "), calls[at].name);
        let done = catch_unwind(AssertUnwindSafe(|| {
            prepare();
            let (out, hit) = with_fault(b, args, below, at, fault);
            let about = format!("{about} -> {}", hit.as_deref().unwrap_or("not reached"));
            let success = check_report(attempt, &reports, fault, &out, hit.is_some().then_some(&*about));
            examine(success, &about);
            (hit.is_some(), success)
        }));
        match done {
            Ok((hit, success)) => {
                tried += usize::from(hit);
                absorbed += usize::from(hit && success);
            }
            Err(_) => wrong.push(about),
        }
    }
    eprintln!(
        "descry {} below {below}: {} calls, {tried} faults, {absorbed} absorbed",
        args[..2].join(" "),
        calls.len()
    );
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(tried > 0 && tried > absorbed, "no fault was noticed");
}

/// The errors that a run printed, each with its remedy.
fn errors(out: &Output) -> Vec<String> {
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    err.replace(" WARN ", "error: ").split("error: ").skip(1).map(str::to_string).collect()
}

/// What the errors are about, and why they came.
fn causes(errors: &[String]) -> Vec<String> {
    let mut first: Vec<String> = errors.iter().filter_map(|e| e.lines().next().map(str::to_string)).collect();
    first.sort();
    first
}

/// Checks the exit code and the messages of a run. Returns whether the run reported success. `usual` is what
/// an undisturbed run reports; `hit` says what happened, if it did.
fn check_report(attempt: &Attempt<'_>, usual: &[String], fault: Fault, out: &Output, hit: Option<&str>) -> bool {
    let (status, err, about) = (out.status, String::from_utf8_lossy(&out.stderr), hit.unwrap_or("no fault"));
    assert!(!err.contains("panicked"), "{about}: {err}");
    if fault == Fault::Killed && hit.is_some() {
        assert_eq!(status.signal(), Some(9), "{about}: {err}");
        return false;
    }
    let errors = errors(out);
    // Where an undisturbed run reports something as well, only the messages show whether this one failed. Warnings without a
    // failure are those of outputs that try again.
    let success = status.code() == Some(attempt.whole) && (attempt.whole == 0 || causes(&errors) == usual);
    let codes = [attempt.code, attempt.or_code].map(Some);
    assert!(success || codes.contains(&status.code()), "{about}: {status:?}: {err}");
    assert!(success || fault != Fault::Short, "{about}: a short read or write is no failure: {err}");
    assert!(success || fault != Fault::Interrupted, "{about}: an interrupted call is no failure: {err}");
    if !success {
        let name = attempt.below.rsplit('/').next().unwrap();
        let explained = errors.iter().any(|e| e.contains(name) && e.contains(": ") && e.contains("\n  "));
        assert!(explained, "{about}: file, cause and remedy: {err}");
        // SQLite does not say why it cannot bring its file to the disk.
        let full = err.contains("disk is full") || err.contains("disk I/O error");
        assert!(!matches!(fault, Fault::Full { .. }) || full, "{about}: {err}");
    }
    success
}

/// The calls that differ: of those that do the same with the same file, the first and the last.
fn distinct(calls: &[Call]) -> Vec<usize> {
    let mut of: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    for (at, call) in calls.iter().enumerate() {
        of.entry((&call.name, &call.path)).or_default().push(at);
    }
    let ends = of.into_values().flat_map(|all| [all[0], all[all.len() - 1]]);
    ends.collect::<BTreeSet<usize>>().into_iter().collect()
}

/// All faults of all calls that differ, or some of them. Each kind of fault is in a sample, with calls of different names.
fn sample(calls: &[Call], attempt: &Attempt<'_>) -> Vec<(Fault, usize)> {
    let (mut random, distinct) = (Random::seeded(), distinct(calls));
    let mut all = Vec::new();
    for fault in FAULTS {
        let mut possible: Vec<usize> = distinct.iter().copied().filter(|at| calls[*at].can_have(fault)).collect();
        if everything() {
            all.extend(possible.into_iter().map(|at| (fault, at)));
            continue;
        }
        for _ in 0..2 {
            if possible.is_empty() {
                break;
            }
            // A name first: most calls of a run open or read.
            let mut names: Vec<&str> = possible.iter().map(|at| calls[*at].name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            let name = names[random.below(names.len())];
            let named: Vec<usize> = possible.iter().copied().filter(|at| calls[*at].name == name).collect();
            all.push((fault, named[random.below(named.len())]));
            possible.retain(|at| calls[*at].name != name);
        }
    }
    while all.len() > attempt.most {
        all.swap_remove(random.below(all.len()));
    }
    for (fault, name, end) in attempt.known {
        let known = |call: &Call| call.name == *name && call.path.ends_with(end);
        let found: Vec<usize> = (0..calls.len()).filter(|at| known(&calls[*at])).collect();
        assert!(!found.is_empty(), "no {name} of {end}: {calls:?}");
        all.extend(found.into_iter().map(|at| (*fault, at)));
    }
    all.sort_by_key(|(fault, at)| (*at, format!("{fault:?}")));
    all.dedup();
    all
}

/// Removes a folder.
pub(crate) fn clear(b: &Bench, name: &str) {
    let _ = fs::remove_dir_all(b.path(name));
}

/// Makes a folder a copy of another one.
pub(crate) fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    for (name, bytes) in tree(from) {
        let path = to.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}
