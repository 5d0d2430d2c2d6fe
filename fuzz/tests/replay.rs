//! Every seed and every finding goes through its target: what a fuzzer has found once stays mended.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use descry_fuzz::{LIMIT, MEMORY, TARGETS, seeds, target};

/// The inputs in `fuzz/findings`, by target.
fn findings(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("findings").join(target);
    let Ok(entries) = fs::read_dir(&folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("an entry of a folder").path());
    paths.map(|path| (path.display().to_string(), fs::read(&path).expect("a finding"))).collect()
}

/// Targets forget the secrets of the process, and limit its memory: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs everything there is for a target.
fn replay(name: &str) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    MEMORY.set_limit(LIMIT).expect("a limit above what is in use");
    let target = target(name).expect("a target");
    let mut inputs = seeds::of(name).expect("the seeds of a target");
    inputs.extend(findings(name));
    for (input, bytes) in &inputs {
        // Shown if it panics.
        println!("{name}: {input}, {} bytes", bytes.len());
        (target.run)(bytes);
    }
    (target.run)(&[]);
}

macro_rules! replays {
    ($($name:ident),*) => {
        $(
            #[test]
            fn $name() {
                replay(stringify!($name));
            }
        )*

        #[test]
        fn every_target_is_replayed() {
            let replayed = [$(stringify!($name)),*];
            assert_eq!(TARGETS.iter().map(|target| target.name).collect::<Vec<_>>(), replayed);
        }
    };
}

replays!(
    media, picture, manifest, graph, hub, tokenizer, answer, listing, checkpoint, record, table, index, part, review,
    address, config, defaults, http, dialogue, replies, vtt
);

/// A finding in a folder that is named after no target would never be replayed.
#[test]
fn findings_belong_to_targets() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("findings");
    for entry in fs::read_dir(folder).expect("the findings") {
        let entry = entry.expect("an entry of a folder");
        let name = entry.file_name();
        assert!(target(&name.to_string_lossy()).is_some(), "fuzz/findings/{} belongs to no target", name.display());
        assert!(fs::read_dir(entry.path()).expect("a folder").next().is_some(), "{} is empty", entry.path().display());
    }
}

/// A seed that is refused at once would cover nothing of what comes behind.
#[test]
fn replies_of_every_kind_are_believed() {
    for (name, bytes) in seeds::of("replies").expect("the seeds of a target") {
        let all = descry::fuzzing::received_replies(&bytes);
        let believed = match name.as_str() {
            "opened" => all.infos.len() == 2,
            "sound" => all.side_tracks.len() == 2 && all.side_tracks[1].programme[0].samples.len() == 4,
            "lines" => all.side_tracks.len() == 1 && all.side_tracks[0].lines.len() == 1,
            "frames" => all.frames.len() == 2,
            "yuv" | "palette" => all.pictures.len() == 1,
            "failed" => all.errors.len() == 2,
            "fault" => all.texts.len() == 1,
            other => panic!("what is {other}?"),
        };
        assert!(believed, "{name}");
    }
}

/// Those that are whole have tensors, and no other.
#[test]
fn checkpoints_of_every_kind_have_values() {
    for (name, bytes) in seeds::of("checkpoint").expect("the seeds of a target") {
        if name.ends_with(".pkl") {
            continue;
        }
        let path = descry_fuzz::scratch_folder().join("seed.pt");
        fs::write(&path, &bytes).expect("a file in a temporary folder");
        let found = descry::fuzzing::checkpoint_tensors(&path).map_or(0, |all| all.len());
        let is_whole =
            ["linear.pt", "script.pt", "state.pt", "state.safetensors"].iter().any(|end| name.ends_with(end));
        assert_eq!(found > 0, is_whole, "{name}: {found} tensors");
    }
}
