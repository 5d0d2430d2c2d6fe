//! Messages on standard error, as text or as JSON lines, and whether anything failed.
//!
//! Results go to standard output or to files; everything else goes through a [`Reporter`]. It removes credentials from
//! every message, escapes control characters, prints above progress bars, and remembers problems: [`Reporter::exit`] is the one place where the end of
//! a run becomes an exit code.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::MultiProgress;
use serde_json::{Value, json};

use super::exit::Exit;
use super::flags;
use super::global::{GlobalArgs, LogFormat};
use crate::address::hide;
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::printable::{printable_json, printable_message};

/// Reports messages, and whether the run had problems. Can be used from several threads at once.
pub(super) struct Reporter {
    quiet: bool,
    verbose: u8,
    json: bool,
    /// Where progress bars are drawn, once a command shows some.
    bars: OnceLock<MultiProgress>,
    /// An input failed, or was described only in part.
    failed: AtomicBool,
}

impl Reporter {
    pub(super) fn new(args: &GlobalArgs) -> Reporter {
        Reporter {
            quiet: args.quiet,
            verbose: args.verbose,
            json: args.log == LogFormat::Json,
            bars: OnceLock::new(),
            failed: AtomicBool::new(false),
        }
    }

    /// For errors of the command line itself, before its options are known.
    pub(super) fn for_usage_errors(json: bool) -> Reporter {
        Reporter { quiet: false, verbose: 0, json, bars: OnceLock::new(), failed: AtomicBool::new(false) }
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }

    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether FFmpeg's own messages are wanted. They are text, so they never mix with JSON lines.
    pub(super) fn wants_ffmpeg_log(&self) -> bool {
        self.verbose > 1 && !self.json
    }

    /// Reports an error; the run counts as failed.
    pub(super) fn error(&self, error: &Error) {
        self.fail();
        self.emit("error", &flags::explain(error));
    }

    /// Reports an error in words of its own.
    pub(super) fn error_text(&self, text: &str) {
        self.fail();
        self.emit("error", text);
    }

    /// Reports something that the user should know but that does not make the run fail.
    pub(super) fn warn(&self, text: &str) {
        if !self.quiet {
            self.emit("warning", text);
        }
    }

    /// Reports that an input was described only in part; the run counts as failed.
    pub(super) fn partial(&self, input: &str, damage: &str) {
        self.fail();
        self.warn(&format!("{input}: described in part: {damage}"));
    }

    /// Reports a detail, with `-v`.
    pub(super) fn info(&self, text: &str) {
        if self.verbose > 0 && !self.quiet {
            self.emit("info", text);
        }
    }

    /// Reports a hint to a person at a terminal; programs get it only with `-v`.
    pub(super) fn note(&self, text: &str) {
        if !self.quiet && (self.verbose > 0 || io::stderr().is_terminal()) {
            self.emit("info", text);
        }
    }

    /// Reports the result of a run: words for people, `fields` for programs.
    pub(super) fn summary(&self, text: &str, fields: &Value) {
        if self.quiet {
            return;
        }
        if self.json {
            self.event(text, &json!({ "result": fields }));
        } else {
            self.line(text);
        }
    }

    /// Reports the figures that `--stats` asks for, also with `--quiet`.
    pub(super) fn stats(&self, stats: &Value) {
        if self.json {
            self.event("stats", &json!({ "stats": stats }));
        } else {
            self.print(&stats.to_string());
        }
    }

    /// Prints a JSON line with a message and more fields.
    pub(super) fn event(&self, message: &str, fields: &Value) {
        let mut line = json!({ "level": "info", "message": hide(message) });
        if let (Some(line), Some(fields)) = (line.as_object_mut(), fields.as_object()) {
            line.extend(fields.clone());
        }
        self.print(&printable_json(&line.to_string()));
    }

    /// Prints a line without credentials.
    pub(super) fn line(&self, line: &str) {
        self.print(&printable_message(&hide(line)));
    }

    fn emit(&self, level: &str, text: &str) {
        let text = hide(text);
        if self.json {
            self.print(&printable_json(&json!({ "level": level, "message": text }).to_string()));
        } else if level == "info" {
            self.print(&printable_message(&text));
        } else {
            self.print(&printable_message(&format!("{level}: {text}")));
        }
    }

    fn print(&self, line: &str) {
        // A closed standard error must not end the work.
        let print = || drop(writeln!(io::stderr(), "{line}"));
        match self.bars.get() {
            Some(bars) => bars.suspend(print),
            None => print(),
        }
    }

    /// Where to draw progress bars; `None` unless a person sees them.
    pub(super) fn bars(&self) -> Option<&MultiProgress> {
        let shows = !self.quiet && !self.json && io::stderr().is_terminal();
        shows.then(|| self.bars.get_or_init(MultiProgress::new))
    }

    /// Lets the library log directly, with times: for live mode, which runs for months.
    pub(super) fn start_log(&self) {
        let level = match (self.quiet, self.verbose) {
            (true, _) => tracing::Level::ERROR,
            (_, 0) => tracing::Level::WARN,
            _ => tracing::Level::INFO,
        };
        let log = tracing_subscriber::fmt().with_max_level(level).with_target(false);
        // A subscriber that is already installed stays.
        let _ = if self.json {
            log.json().flatten_event(true).with_writer(|| LogWriter(printable_json)).try_init()
        } else {
            log.with_writer(|| LogWriter(printable_message)).try_init()
        };
    }

    /// Counts the run as failed.
    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// The exit code of a run that came to its end.
    pub(super) fn exit(&self, interrupt: &Interrupt) -> Exit {
        if interrupt.is_set() {
            Exit::Interrupted
        } else if self.failed.load(Ordering::Relaxed) {
            Exit::SomeFailed
        } else {
            Exit::Done
        }
    }
}

/// A number of things in words: `1 video`, `2 videos`.
pub(super) fn count<N: Display + PartialEq + From<u8>>(number: N, noun: &str) -> String {
    let plural = if number == N::from(1) { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Standard error, without credentials and control characters.
struct LogWriter(fn(&str) -> Cow<'_, str>);

impl Write for LogWriter {
    /// Takes one whole message at a time.
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        // A closed standard error must not end the work.
        let _ = io::stderr().write_all((self.0)(&hide(&String::from_utf8_lossy(message))).as_bytes());
        Ok(message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_plural() {
        assert_eq!([0u64, 1, 2].map(|n| count(n, "cue")), ["0 cues", "1 cue", "2 cues"]);
    }

    #[test]
    fn the_exit_code_is_that_of_the_worst_that_happened() {
        let interrupt = Interrupt::new();
        let reporter = Reporter::for_usage_errors(true);
        assert_eq!(reporter.exit(&interrupt), Exit::Done);
        reporter.fail();
        assert_eq!(reporter.exit(&interrupt), Exit::SomeFailed);
        interrupt.set();
        assert_eq!(reporter.exit(&interrupt), Exit::Interrupted);
    }
}
