//! Where descriptions are spoken in films whose speech is known exactly: `free` cues, a greedy rule, and the placer.
//!
//! `cargo bench --bench placement -- [SEED]` takes films that are made up from the seed ([`made_up`]), and then the clips of
//! `samples/` with dialogue that is synthesised at times drawn from the seed ([`real`]), if espeak-ng is installed. With
//! `--film FILE…` it takes those films instead. `--show` prints a minute and a half of each made-up film and what is spoken in
//! it; `--each` also prints a table for each film.

#[path = "../common/mod.rs"]
mod common;
mod dialogue;
mod made_up;
mod real;
mod rules;
mod sums;

use std::path::PathBuf;
use std::time::Instant;

use descry::time::Time;
use descry::track::place::PlaceRule;

use dialogue::Voices;
use made_up::{FILM, KINDS, film};
use rules::{Film, Spoken, free, greedy, overlap, placed, secs};
use sums::{Sums, add, head, print};

const FILMS: u64 = 8;
/// The films that come with descry.
const SAMPLES: [&str; 5] =
    ["tears-of-steel.webm", "bigbuckbunny-opening.webm", "bigbuckbunny.mp4", "bikes.mp4", "signing.mkv"];

/// A part of a film, and what is spoken in it.
fn show(film: &Film, kind: &str) {
    let (from, until) = (secs(300.0), secs(390.0));
    let within = |start: Time| start >= from && start < until;
    println!("\n{kind}");
    let mut lines: Vec<(Time, String)> = Vec::new();
    for s in film.scenes.iter().filter(|s| within(s.start)) {
        let text =
            format!("scene {:5.1} s {:?} {}", (s.end - s.start).secs(), s.novelty, s.text.as_deref().unwrap_or(""));
        lines.push((s.start, text));
    }
    lines.extend(
        film.speech.iter().filter(|s| within(s.0)).map(|s| (s.0, format!("    speech until {:.1}", s.1.secs()))),
    );
    for cue in placed(film, PlaceRule::Pauses, 2.0).iter().filter(|cue| within(cue.start)) {
        let over = overlap(&film.speech, cue.start, cue.end).secs();
        let mark = if over > 0.0 { format!(" OVER {over:.1}") } else { String::new() };
        lines.push((cue.start, format!("        >>> {} (until {:.1}){mark}", cue.text, cue.end.secs())));
    }
    lines.sort_by_key(|line| line.0);
    for (at, line) in lines {
        println!("{:6.1} {line}", at.secs());
    }
}

/// Films that are made up: a table for each kind.
fn made_up(seed: u64, shows: bool) {
    for kind in KINDS {
        let films: Vec<Film> = (0..FILMS).map(|n| film(seed * 1_000 + n, kind)).collect();
        if shows {
            films.iter().take(4).for_each(|film| show(film, kind.0));
            continue;
        }
        let talks: f64 =
            films.iter().map(|f| overlap(&f.speech, Time::ZERO, secs(FILM)).secs()).sum::<f64>() / FILM / FILMS as f64;
        let scenes: usize = films.iter().map(|f| f.scenes.len()).sum();
        println!(
            "\n{}: speech {:.0} % of the time, {} scenes in {} h",
            kind.0,
            100.0 * talks,
            scenes,
            FILM * FILMS as f64 / 3_600.0
        );
        head();
        type Rule = Box<dyn Fn(&Film) -> Vec<Spoken>>;
        let rules: [(&str, Rule); 8] = [
            ("free", Box::new(free)),
            ("greedy, 0 s", Box::new(|film| greedy(film, 0.0))),
            ("strict, 0 s", Box::new(|film| placed(film, PlaceRule::Strict, 0.0))),
            ("greedy, 1 s", Box::new(|film| greedy(film, 1.0))),
            ("strict, 1 s", Box::new(|film| placed(film, PlaceRule::Strict, 1.0))),
            ("greedy", Box::new(|film| greedy(film, 2.0))),
            ("strict", Box::new(|film| placed(film, PlaceRule::Strict, 2.0))),
            ("pauses", Box::new(|film| placed(film, PlaceRule::Pauses, 2.0))),
        ];
        for (name, rule) in rules {
            let begun = Instant::now();
            let spoken: Vec<Vec<Spoken>> = films.iter().map(&rule).collect();
            let took = begun.elapsed();
            let mut sums = Sums::default();
            films.iter().zip(&spoken).for_each(|(film, spoken)| add(&mut sums, film, spoken));
            print(name, &sums);
            if name == "pauses" {
                eprintln!("{name}: {:.2} ms a scene", took.as_secs_f64() * 1_000.0 / scenes as f64);
            }
        }
    }
}

fn main() {
    // `cargo bench` adds --bench.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let has = |flag: &str| arguments.iter().any(|a| a == flag);
    let films = arguments.iter().position(|a| a == "--film");
    let (before, named) = arguments.split_at(films.unwrap_or(arguments.len()));
    let seed: u64 = before.iter().find_map(|a| a.parse().ok()).unwrap_or(1);
    let mut named: Vec<PathBuf> = named.iter().filter(|a| !a.starts_with("--")).map(PathBuf::from).collect();
    if films.is_none() {
        made_up(seed, has("--show"));
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("samples");
        named = SAMPLES.map(|name| folder.join(name)).into();
    }
    if has("--show") {
        return;
    }
    match Voices::new() {
        Some(voices) => real::films(&named, seed, &voices, has("--each")),
        None => println!("\nfilms with synthesised dialogue: skipped: no espeak-ng"),
    }
}
