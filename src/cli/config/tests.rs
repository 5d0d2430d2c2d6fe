//! Every option of every command, from files and from the command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command};
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

use super::files::{ConfigEntry, ConfigFile, ConfigScope};
use super::merge::{OptionSource, matches_of, merge};
use super::options::{self, CommandPath, OptionValue};

/// Values of which each option takes at least one. Addresses come first: the options that keep them secret take these, and no
/// text that other tests print.
const SAMPLES: [&str; 14] = [
    "http://host/first-sample",
    "http://host/second-sample",
    "160",
    "1",
    "0.5",
    "1/2",
    "10M",
    "en",
    "cpu",
    "fp32",
    "127.0.0.1:1",
    "day",
    "1:30",
    "coco-mlp",
];

/// Values of an option as a file has them, the first one that clap takes.
fn sample(arg: &Arg, from: usize) -> OptionValue {
    match arg.get_action() {
        ArgAction::SetTrue => OptionValue::Flag(true),
        ArgAction::Count => OptionValue::Times(2),
        _ => {
            let possible: Vec<String> = arg.get_possible_values().iter().map(|v| v.get_name().to_string()).collect();
            let all: Vec<String> = if possible.is_empty() { SAMPLES.map(String::from).to_vec() } else { possible };
            let name = arg.get_long().unwrap();
            let mut good = all.into_iter().filter(|value| is_taken(arg, name, value));
            let first = good.next().unwrap_or_else(|| panic!("--{name} takes none of the samples"));
            OptionValue::Values(vec![good.take(from).last().unwrap_or(first)])
        }
    }
}

fn is_taken(arg: &Arg, name: &str, value: &str) -> bool {
    let text = format!("[common]\n{name} = '{value}'\n");
    let mut one = Command::new("descry").subcommand(
        Command::new("describe").arg(
            arg.clone()
                .conflicts_with(clap::builder::Resettable::Reset)
                .requires(clap::builder::Resettable::Reset)
                .overrides_with(clap::builder::Resettable::Reset),
        ),
    );
    one.build();
    ConfigFile::parse("x".into(), ConfigScope::User, &text, &one).is_ok()
}

fn file(path: &CommandPath, values: &[(String, OptionValue)], scope: ConfigScope) -> ConfigFile {
    let entry = |(line, (name, value)): (usize, &(String, OptionValue))| ConfigEntry {
        command: Some(path.clone()),
        name: name.clone(),
        value: value.clone(),
        line: line + 1,
    };
    ConfigFile { path: PathBuf::from("f"), scope, entries: values.iter().enumerate().map(entry).collect() }
}

/// A command line with these options, and with what the command requires besides.
fn words(program: &Command, path: &[String], command: &Command, typed: &[(String, OptionValue)]) -> Vec<OsString> {
    let mut words: Vec<String> = std::iter::once("descry".into()).chain(path.iter().cloned()).collect();
    for (name, value) in typed {
        words.extend(value.arguments(command, name));
    }
    for arg in command.get_arguments().filter(|arg| arg.is_required_set()) {
        match arg.get_long() {
            Some(name) if typed.iter().all(|(other, _)| other != name) => {
                words.extend(sample(arg, 0).arguments(command, name));
            }
            Some(_) => {}
            None => words.push("film.mp4".into()),
        }
    }
    // Pictures are needed where nothing else is embedded.
    let missing = clap::error::ErrorKind::MissingRequiredArgument;
    if program.clone().try_get_matches_from(&words).is_err_and(|e| e.kind() == missing) {
        words.push("film.mp4".into());
    }
    words.into_iter().map(OsString::from).collect()
}

fn raw(program: &Command, words: &[OsString], path: &[String], id: &str) -> Option<Vec<OsString>> {
    let matches = program.clone().try_get_matches_from(words).ok()?;
    let values = matches_of(&matches, path)?.get_raw(id)?;
    Some(values.map(OsString::from).collect())
}

#[test]
fn every_option_of_every_command_can_be_in_a_file() {
    let (program, relaxed) = (options::program(), options::relaxed());
    let mut tried = 0;
    for (path, command) in options::commands(&program) {
        for (name, arg) in options::options(command) {
            let value = sample(arg, 0);
            let plain = words(&program, &path, command, &[]);
            let files = [file(&path, &[(name.to_string(), value.clone())], ConfigScope::User)];
            let merged = merge(relaxed.clone(), &plain, &files).unwrap().unwrap();
            let set = merged.set.iter().find(|option| option.name == name);
            tried += 1;
            if arg.is_required_set() || std::env::var_os("DESCRY_MODEL").is_some() && name == "model" {
                continue;
            }
            let arguments = value.arguments(command, name).into_iter().map(OsString::from);
            let typed: Vec<OsString> = plain.iter().cloned().chain(arguments).collect();
            let id = arg.get_id().as_str();
            match raw(&program, &typed, &path, id) {
                // What is typed alone and refused needs another option, or cannot be with what is required.
                None => assert!(set.is_none(), "{path:?} --{name}"),
                typed => {
                    assert_eq!(
                        set.map(|option| option.source.clone()),
                        Some(OptionSource::File(0, 1)),
                        "{path:?} --{name}"
                    );
                    assert_eq!(raw(&program, &merged.words, &path, id), typed, "{path:?} --{name}");
                }
            }
        }
    }
    assert!(tried > 400, "only {tried} options were tried");
}

#[test]
fn what_is_typed_counts_and_lists_are_replaced() {
    let (program, relaxed) = (options::program(), options::relaxed());
    for (path, command) in options::commands(&program) {
        for (name, arg) in
            options::options(command).filter(|(_, arg)| arg.get_num_args().is_some_and(|n| n.takes_values()))
        {
            let typed = words(&program, &path, command, &[(name.to_string(), sample(arg, 1))]);
            let files = [file(&path, &[(name.to_string(), sample(arg, 0))], ConfigScope::User)];
            let Some(expected) = raw(&program, &typed, &path, arg.get_id().as_str()) else { continue };
            let merged = merge(relaxed.clone(), &typed, &files).unwrap().unwrap();
            assert_eq!(raw(&program, &merged.words, &path, arg.get_id().as_str()), Some(expected), "{path:?} --{name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever files say, a command line that clap takes is taken, and means what it meant.
    #[test]
    fn files_break_no_command_line(
        which in any::<Index>(),
        seeds in proptest::collection::vec((any::<Index>(), 0..3usize, any::<bool>()), 0..24),
    ) {
        let (program, relaxed) = (options::program(), options::relaxed());
        let commands = options::commands(&program);
        let (path, command) = which.get(&commands);
        let all: Vec<(&str, &Arg)> = options::options(command).collect();
        let mut of: [Vec<(String, OptionValue)>; 3] = Default::default();
        for (option, place, flag) in &seeds {
            let (name, arg) = option.get(&all);
            if of[*place].iter().any(|(other, _)| other == name) {
                continue;
            }
            let value = match sample(arg, usize::from(*flag)) {
                OptionValue::Flag(_) if *place > 0 => OptionValue::Flag(*flag),
                value => value,
            };
            of[*place].push((name.to_string(), value));
        }
        let typed = words(&program, path, command, &of[0]);
        prop_assume!(program.clone().try_get_matches_from(&typed).is_ok());
        let files = [file(path, &of[1], ConfigScope::Project), file(path, &of[2], ConfigScope::User)];
        // Options of one table that exclude each other are an error of the file.
        let Ok(merged) = merge(relaxed, &typed, &files) else { return Ok(()) };
        let merged = merged.unwrap();
        let parsed = program.clone().try_get_matches_from(&merged.words);
        prop_assert!(parsed.is_ok(), "{:?}: {}", merged.words, parsed.unwrap_err());
        for (name, _) in &of[0] {
            let id = options::option(command, name).unwrap().get_id().as_str();
            prop_assert_eq!(raw(&program, &merged.words, path, id), raw(&program, &typed, path, id));
        }
    }

    /// The place where options are put in is right behind the command, whatever global options are before it.
    #[test]
    fn the_command_is_found_behind_global_options(
        before in subsequence(vec!["-v", "--quiet", "--log", "-q", "--log=json", "--ignore-config=text", "-vq"], 0..7)
    ) {
        let program = options::relaxed();
        let mut words = vec!["descry"];
        for word in before {
            words.push(word);
            if word == "--log" {
                words.push("json");
            }
        }
        let at = words.len();
        words.extend(["model", "-v", "pull", "x", "--", "-y"]);
        let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
        let found = super::merge::command_of(&program, &words);
        prop_assert_eq!(found, Some((vec!["model".to_string(), "pull".into()], at + 3)));
    }
}

fn parse(text: &str, scope: ConfigScope) -> crate::error::Result<ConfigFile> {
    ConfigFile::parse("/x/descry.toml".into(), scope, text, &options::relaxed())
}

#[test]
fn mistakes_are_named_with_file_line_and_fix() {
    for (text, line, cause, fix) in [
        ("[describe]\nbeem = 3\n", 2, "beem is not an option of describe", "Did you mean beam?"),
        ("[describe]\nmax_gap = 3\n", 2, "max_gap is not an option", "Did you mean max-gap?"),
        ("[common]\nnonsense-of-mine = 3\n", 2, "is not an option of any command", "'descry COMMAND --help'"),
        ("[descrybe]\nbeam = 3\n", 1, "[descrybe] is not a command", "Did you mean [describe]?"),
        ("[model.pul]\n", 1, "[model.pul] is not a command", "Did you mean [model.pull]?"),
        ("[config.show]\njson = true\n", 1, "is not a command that reads this file", "[describe]"),
        ("beam = 3\n", 1, "beam is not in the table of a command", "[common]"),
        ("[model]\nprecision = 'q4'\n", 2, "precision is not in the table", "[model.…]"),
        ("\n[describe]\nbeam = true\n", 3, "beam is a boolean", "Write a text or a number."),
        ("[describe]\ntext = 'yes'\n", 2, "text is a string", "Write true or false."),
        ("[describe]\nbeam = [1, 2]\n", 2, "beam is an array", "Write a text or a number."),
        ("[common]\nverbose = 10\n", 2, "verbose is an integer", "a number from 0 to 9"),
        (
            "[describe]\nbatch = 0\n",
            2,
            "invalid value … for '--batch <N>'",
            "'descry describe --help' describes --batch.",
        ),
        ("[describe]\nmode = 'x'\n", 2, "[possible values: all, ", "'descry describe --help' describes --mode."),
        ("[describe]\nmax-gap = 1979-05-27\n", 2, "max-gap is a datetime", "Write a text or a number."),
        ("[common]\nlanguage = 'en'\n", 2, "language means one thing for", "tables of commands"),
        ("[common]\nstart = 1\n", 2, "start means one thing for", "tables of commands"),
        ("[describe\n", 1, "", "Correct the file"),
        ("[describe]\nbeam = 1\nbeam = 2\n", 3, "duplicate", "Correct the file"),
    ] {
        let error = parse(text, ConfigScope::User).unwrap_err().to_string();
        assert!(error.starts_with(&format!("/x/descry.toml:{line}: ")), "{text}: {error}");
        assert!(error.contains(cause) && error.contains(fix), "{text}: {error}");
    }
}

#[test]
fn a_mistake_shows_no_password() {
    for text in [
        "[live]\nwebhook = 'http://u:t0p-secret@h/x\n",
        "[live]\nwebhook = ['http://u:t0p-secret@h/x', 1979-05-27]\n",
        "[describe]\nbatch = 'http://u:t0p-secret@h/x'\n",
        "[describe]\nbatch = 't0p-secret'\n",
        "'http://u:t0p-secret@h/x' = 1\n",
        "[describe]\n'http://u:t0p-secret@h/x' = 1\n",
    ] {
        let error = parse(text, ConfigScope::User).unwrap_err().to_string();
        assert!(!error.contains("t0p-secret"), "{error}");
    }
}

#[test]
fn a_project_may_not_run_send_or_write() {
    for text in [
        "[live]\ncommand = 'rm -rf /'\n",
        "[speak]\nvoice-command = 'x'\n",
        "[live]\nwebhook = 'http://evil/'\n",
        "[common]\nmodel = 'openai:http://evil/v1'\n",
        "[common]\nmodel = './evil'\n",
        "[describe]\noutput = '/etc/x'\n",
        "[describe]\nforce = true\n",
        "[common]\ninsecure = true\n",
        "[index]\nno-isolate = true\n",
        "[index]\nisolate = false\n",
        "[common]\nnotes = '/etc/passwd'\n",
        "[common]\nnotes = '../secret'\n",
        "[common]\nnotes = '~/.ssh/id'\n",
    ] {
        let error = parse(text, ConfigScope::Project).unwrap_err().to_string();
        assert!(error.contains("a project's file may") && error.contains("command line"), "{text}: {error}");
        assert!(!text.contains("evil/") || parse(text, ConfigScope::User).is_ok(), "{text}");
    }
    assert!(parse("[common]\nmodel = 'smolvlm2-256m'\nbeam = 3\n[speak]\nduck = 9\n", ConfigScope::Project).is_ok());
}

fn merged(typed: &str, files: &[ConfigFile]) -> Vec<String> {
    let words: Vec<OsString> = typed.split_whitespace().map(OsString::from).collect();
    let merged = merge(options::relaxed(), &words, files).unwrap().unwrap();
    merged.words.into_iter().map(|word| word.into_string().unwrap()).collect()
}

#[test]
fn the_project_comes_before_the_user_and_a_command_before_all() {
    let project = parse("[common]\nbeam = 2\n[describe]\nformat = ['srt']\n", ConfigScope::Project).unwrap();
    let text = "[describe]\nbeam = 3\nformat = ['vtt', 'json']\nmax-gap = 5\ntext = true\n[common]\nmax-line = 30\n";
    let user = parse(text, ConfigScope::User).unwrap();
    let files = [project, user];
    assert_eq!(
        merged("descry -v describe x", &files).join(" "),
        "descry -v describe --format=srt --beam=2 --max-gap=5 --text --max-line=30 x"
    );
    // What excludes an option replaces it, and lists are not joined.
    assert_eq!(
        merged("descry describe --greedy -f csv --ignore-config=text x", &files).join(" "),
        "descry describe --max-gap=5 --max-line=30 --greedy -f csv --ignore-config=text x"
    );
    assert_eq!(merged("descry describe --ignore-config x", &files).join(" "), "descry describe --ignore-config x");
    assert_eq!(merged("descry model list", &files).join(" "), "descry model list");
}

#[test]
fn a_flag_that_is_false_undoes_one_and_its_opposite_is_given() {
    let files = |project: &str, user: &str| {
        [parse(project, ConfigScope::Project).unwrap(), parse(user, ConfigScope::User).unwrap()]
    };
    let text = files("[describe]\ntext = false\n", "[common]\nisolate = false\n[describe]\ntext = true\n");
    assert_eq!(merged("descry describe x", &text).join(" "), "descry describe --no-isolate x");
    assert_eq!(merged("descry describe x --isolate", &text).join(" "), "descry describe x --isolate");
}

#[test]
fn options_of_one_table_that_exclude_each_other_are_an_error() {
    let both = parse("[describe]\nbeam = 3\n\ngreedy = true\n", ConfigScope::User).unwrap();
    let words = ["descry", "describe", "x"].map(OsString::from);
    let error = merge(options::relaxed(), &words, &[both]).unwrap_err().to_string();
    assert!(
        error.contains(":4: greedy and beam exclude each other") || error.contains(":2: beam and greedy"),
        "{error}"
    );
}

#[test]
fn an_option_that_needs_another_waits_for_it() {
    let force = [parse("[search]\nforce = true\n", ConfigScope::User).unwrap()];
    assert_eq!(merged("descry search a b", &force).join(" "), "descry search a b");
    assert_eq!(merged("descry search a b --html x", &force).join(" "), "descry search --force a b --html x");
    // The tables are read in order of their keys, in which the needed one comes last.
    let both = [parse("[search]\nforce = true\nhtml = 'found.html'\n", ConfigScope::User).unwrap()];
    assert_eq!(merged("descry search a b", &both).join(" "), "descry search --html=found.html --force a b");
    assert_eq!(
        merged("descry search a b --ignore-config=html", &both).join(" "),
        "descry search a b --ignore-config=html"
    );
}

#[test]
fn a_file_of_streams_comes_before_the_users_file() {
    let folder = tempfile::tempdir().unwrap();
    let streams = folder.path().join("streams.toml");
    std::fs::write(&streams, "max_gap = 5\nprompt_file = 'x'\n[outputs]\nvtt = 'out/'\n").unwrap();
    let text = "[live]\nmax-gap = 10\nvtt = 'mine/'\nevery = 30\nprompt = 'y'\n";
    let user = [parse(text, ConfigScope::User).unwrap()];
    let typed = format!("descry live --config {}", streams.display());
    assert_eq!(merged(&typed, &user).join(" "), format!("descry live --every=30 --config {}", streams.display()));
    let named = format!("{text}config = '{}'\n", streams.display());
    let user = [parse(&named, ConfigScope::User).unwrap()];
    let expected = format!("descry live --config={} --every=30", streams.display());
    let mut found = merged("descry live", &user);
    found[2..].sort();
    assert_eq!(found.join(" "), expected);
}
