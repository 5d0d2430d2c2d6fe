//! `descry doctor`: whether everything that descry needs is there, where it was found, and the command that gets what is not.
//!
//! Each check prints what it found at once. No check changes anything, and none prints a credential: a token is there, or is
//! not.

mod checks;
mod machine;
mod models;

use std::borrow::Cow;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::flags;
use super::reporter::Reporter;
use super::stdout::{print_json, print_line};
use crate::address::hide;
use crate::error::{Error, Result};
use crate::printable::printable;

/// Width of the names of checks.
const NAME_WIDTH: usize = 16;
/// Width of what was found, and of the names before that.
const INDENT: usize = 9 + NAME_WIDTH + 1;

/// Check what descry needs: libraries, models, devices, folders, network
///
/// Prints what was found and where, and for each problem the command that mends it. The exit code is 1 if there is a problem.
/// Nothing is changed. The hub is asked whether it answers, unless --no-network or HF_HUB_OFFLINE=1 is given.
#[derive(Args)]
pub(super) struct DoctorArgs {
    /// Print one JSON object per check
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Do not ask the hub whether it answers
    #[arg(long, help_heading = "Network")]
    no_network: bool,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum CheckState {
    Ok,
    /// Something is missing that only some work needs.
    Note,
    Problem,
}

/// What a check found.
#[derive(Debug, Clone, Serialize)]
struct CheckResult {
    check: &'static str,
    state: CheckState,
    /// For people.
    text: String,
    /// A command that mends it, or what to do where no command does.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
    /// For programs.
    #[serde(skip_serializing_if = "Value::is_null")]
    found: Value,
}

impl CheckResult {
    fn new(check: &'static str, state: CheckState, text: impl Into<String>) -> CheckResult {
        CheckResult { check, state, text: text.into(), fix: None, found: Value::Null }
    }

    fn ok(check: &'static str, text: impl Into<String>) -> CheckResult {
        CheckResult::new(check, CheckState::Ok, text)
    }

    fn note(check: &'static str, text: impl Into<String>) -> CheckResult {
        CheckResult::new(check, CheckState::Note, text)
    }

    fn problem(check: &'static str, text: impl Into<String>) -> CheckResult {
        CheckResult::new(check, CheckState::Problem, text)
    }

    /// A problem in the words of an error. Its remedy is the fix, unless there is a command.
    fn of_error(check: &'static str, e: &Error) -> CheckResult {
        let words = flags::explain(e);
        let (cause, remedy) = words.split_once("\n  ").unwrap_or((&words, ""));
        let fix = Some(remedy.replace("\n  ", " ")).filter(|remedy| !remedy.is_empty());
        CheckResult { fix, ..CheckResult::problem(check, cause) }
    }

    fn with_fix(self, fix: impl Into<String>) -> CheckResult {
        CheckResult { fix: Some(fix.into()), ..self }
    }

    fn with_found(self, found: Value) -> CheckResult {
        CheckResult { found, ..self }
    }

    /// In lines for people.
    fn lines(&self) -> String {
        let state = match self.state {
            CheckState::Ok => "ok",
            CheckState::Note => "note",
            CheckState::Problem => "problem",
        };
        let mut lines = self.text.lines().map(printable);
        let mut text = format!("{state:<8} {:<NAME_WIDTH$} {}", self.check, lines.next().unwrap_or_default());
        for line in lines {
            text += &format!("\n{:INDENT$}{line}", "");
        }
        if let Some(fix) = &self.fix {
            text += &format!("\n{:INDENT$}Fix: {}", "", printable(fix));
        }
        text
    }
}

/// A name as a shell takes it.
fn quoted(name: String) -> String {
    shlex::try_quote(&name).map(Cow::into_owned).unwrap_or(name)
}

pub(super) fn run(args: &DoctorArgs, reporter: &Reporter) -> Result<()> {
    let checks: [&dyn Fn() -> Vec<CheckResult>; 4] =
        [&checks::program, &models::all, &machine::all, &|| vec![checks::network(!args.no_network)]];
    for check in checks {
        for result in check() {
            if result.state == CheckState::Problem {
                reporter.fail();
            }
            let result = CheckResult { text: hide(&result.text), fix: result.fix.as_deref().map(hide), ..result };
            let is_read = if args.json { print_json(&result)? } else { print_line(&result.lines())? };
            if !is_read {
                return Ok(());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_becomes_a_problem_with_its_remedy() {
        let result = CheckResult::of_error("model", &Error::model("builtin", "it is missing", "Get it."));
        assert_eq!(result.state, CheckState::Problem);
        assert_eq!((result.text.as_str(), result.fix.as_deref()), ("model builtin: it is missing", Some("Get it.")));
        let lines = result.with_fix("get it").lines();
        assert_eq!(
            lines,
            "problem  model            model builtin: it is missing\n                          Fix: get it"
        );
    }

    #[test]
    fn further_lines_are_below_the_first() {
        let lines = CheckResult::ok("a", "one\ntwo\u{1b}[0m").lines();
        assert_eq!(lines, "ok       a                one\n                          two\\u{1b}[0m");
    }
}
