//! `seeds list` prints each target and its longest input; `seeds write FOLDER` makes the corpus to begin with.

use std::path::Path;
use std::process::ExitCode;

use descry_fuzz::{TARGETS, seeds};
// An instrumented build calls libFuzzer wherever it counts, so this program too is linked with it.
#[cfg(fuzzing)]
use libfuzzer_sys as _;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["list"] => TARGETS.iter().for_each(|target| println!("{} {}", target.name, target.longest)),
        ["write", folder] => {
            for target in TARGETS {
                match seeds::write(target, &Path::new(folder).join(target.name)) {
                    Ok(count) => println!("{}: {count} seeds", target.name),
                    Err(e) => {
                        eprintln!("{}: {e:#}", target.name);
                        return ExitCode::FAILURE;
                    }
                }
            }
        }
        _ => {
            eprintln!("seeds list | seeds write FOLDER");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
