//! An index job that is killed again and again, at random instants.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use descry::archive::{Archive, check};
use descry::interrupt::Interrupt;

use crate::common::archive_files::{assert_same, start, summary, tree};
use crate::common::{Bench, tiny};
use crate::{Random, everything};

/// Few and small: most of a job is then what it writes.
const FILMS: usize = 4;

/// The time at which each record was written.
fn records(archive: &Path) -> BTreeMap<String, SystemTime> {
    if !archive.exists() {
        return BTreeMap::new();
    }
    let names = tree(archive).into_keys().filter(|n| n.starts_with("records/") && n.ends_with(".json"));
    names.map(|n| (n.clone(), fs::metadata(archive.join(n)).unwrap().modified().unwrap())).collect()
}

/// Each kill comes at a random instant of a whole run. If a run ends before it, or the archive is complete, the next round
/// begins. `attempt` tries kills at given calls, so that a sample of those does not depend on the machine's speed.
#[test]
fn kills_lose_no_video_and_repeat_none() {
    let jobs = if everything() { 4 } else { 1 };
    let kills = if everything() { 250 } else { 15 };
    std::thread::scope(|scope| (0..jobs).for_each(|job| drop(scope.spawn(move || kill_again_and_again(job, kills)))));
}

/// Kills a job this many times.
fn kill_again_and_again(job: u64, wanted: usize) {
    let mut random = Random::seeded();
    random.0 += job;
    let b = Bench::new();
    fs::create_dir(b.path("films")).unwrap();
    for i in 0..FILMS {
        let film = format!("testsrc2=size=64x36:rate=10:duration=0.7,hue=h={}", 29 * i);
        b.ffmpeg(&format!("-f lavfi -i {film} -c:v mpeg4 films/film-{i}.mp4"));
    }
    b.write("films/bad.mp4", b"no video\n");
    b.run(&tiny(&["index", "films", "--into", "want"]), 1);
    // Warm by now.
    let begun = Instant::now();
    b.run(&tiny(&["index", "films", "--into", "timed"]), 1);
    let mut whole = begun.elapsed();
    let (mut kills, mut rounds, mut kept, mut committed) = (0, 0, 0, BTreeMap::new());
    while kills < wanted {
        let mut child = start(&b, &["films", "--into", "archive", "--jobs", "2"]);
        // What is left to do takes less time.
        let share = 0.2 + 0.8 * (FILMS - committed.len()) as f64 / FILMS as f64;
        let until = Instant::now() + whole.mul_f64(share * random.below(1_000) as f64 / 1_000.0);
        let ended = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if Instant::now() >= until {
                break None;
            }
            std::thread::sleep(Duration::from_micros(300));
        };
        // The speed of the machine changes: kills are to come at all instants of a run, and not only at its beginning.
        whole = whole.mul_f64(if ended.is_none() { 1.03 } else { 0.9 });
        if ended.is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
            if kills % 25 == 0 {
                eprintln!("job {job}: {kills} kills so far, in {rounds} rounds");
            }
        }
        let now = records(&b.path("archive"));
        for (name, at) in &committed {
            assert_eq!(now.get(name), Some(at), "{name} was committed, and then lost or described again");
        }
        assert!(now.len() <= FILMS, "a video twice: {now:?}");
        kept += now.len() - committed.len();
        committed = now;
        if let Ok(archive) = Archive::open(&b.path("archive").display().to_string()) {
            check(&archive, false, &Interrupt::new(), &mut |e| panic!("after kill {kills}: {e}")).unwrap();
        }
        if let Some(status) = ended {
            assert_eq!(status.code(), Some(1), "after {kills} kills: one film is bad");
        }
        if committed.len() == FILMS {
            finish(&b, FILMS);
            (committed, rounds) = (BTreeMap::new(), rounds + 1);
        }
    }
    finish(&b, committed.len());
    eprintln!("job {job}: {kills} kills in {rounds} rounds; {kept} videos kept, none lost or described twice");
}

/// Lets a run finish. It describes only what is not committed, and the archive is then that of an undisturbed run.
fn finish(b: &Bench, committed: usize) {
    let (_, err) = b.run(&tiny(&["index", "films", "--into", "archive", "--log", "json"]), 1);
    assert_eq!(summary(&err)["progress"]["described"], FILMS - committed, "{err}");
    b.run(&["archive", "check", "archive"], 0);
    let _ = fs::remove_dir(b.path("archive/claims"));
    let _ = fs::remove_dir(b.path("want/claims"));
    assert_same(&b.path("archive"), &b.path("want"));
    fs::remove_dir_all(b.path("archive")).unwrap();
}
