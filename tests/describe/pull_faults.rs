//! `descry model pull` from a hub that fails, lies, or is slow, and in a process that is killed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::Bench;
use crate::common::hub::{COMMIT, Hub, HubAsked, HubReply, SIGNATURE, assert_files, listing, run};
use crate::pull::{NAME, names, repository, wanted};

const GRAPH: &str = "decoder_model_merged_int8.onnx";

fn pull(hub: &Hub, b: &Bench, code: i32) -> String {
    hub.run(b, &["model", "pull", NAME], code).1
}

fn http(status: &'static str, headers: &str) -> HubReply {
    HubReply::Http(status, headers.into(), Vec::new())
}

/// The first bytes that requests for a file have asked for.
fn ranges(hub: &Hub, file: &str) -> Vec<String> {
    let asked = hub.asked();
    let for_file = asked.iter().filter(|a| a.outside && a.is_for(file));
    for_file.map(|a| a.header("range").unwrap_or("all").to_string()).collect()
}

fn begin(hub: &Hub, b: &Bench) -> Child {
    hub.command(b, &["model", "pull", NAME]).stderr(Stdio::null()).spawn().unwrap()
}

/// Kills at all instants: while files are listed, received, verified and named.
#[test]
fn a_pull_that_is_killed_goes_on() {
    let b = Bench::new();
    let hub = Hub::with(repository(), |_, _| HubReply::Slow(1_000));
    let store = b.path("store");
    let (mut kills, mut wait) = (0u64, 3);
    loop {
        let mut child = begin(&hub, &b);
        let until = Instant::now() + Duration::from_millis(wait);
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if Instant::now() >= until => break None,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        if let Some(status) = status {
            assert!(status.success());
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        assert!(kills < 200, "it does not get on");
        // Another length each time, and longer ones on a machine that is too busy to get on. The model has its name only
        // when it is complete.
        wait = (wait * 7 + 11) % (190 + 20 * kills);
        if store.join(NAME).exists() {
            assert_files(&store.join(NAME), &wanted());
        }
    }
    assert!(kills >= 3, "{kills}");
    pull(&hub, &b, 0);
    assert_files(&store.join(NAME), &wanted());
    assert_eq!(names(&store), [NAME]);
    let resumed = hub.asked().iter().filter(|a| a.outside && a.header("range").is_some()).count();
    assert!(resumed >= 2, "{kills} kills, and {resumed} files were continued");
}

/// Begins a pull from a hub that falls silent after 20,000 bytes of the graph, and waits until they are there.
fn pull_that_hangs(b: &Bench) -> (Hub, Child, PathBuf) {
    let reply = |_, a: &HubAsked| if a.outside && a.is_for(GRAPH) { HubReply::Hang(20_000) } else { HubReply::Good };
    let hub = Hub::with(repository(), reply);
    let part = b.path("store").join(format!("{NAME}.partial/onnx/{GRAPH}.part"));
    let mut child = begin(&hub, b);
    let begun = Instant::now();
    while part.metadata().map_or(0, |m| m.len()) < 20_000 {
        assert!(begun.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    (hub, child, part)
}

/// So that the test does not depend on luck: one kill with a known part of a file.
#[test]
fn a_part_of_a_file_is_continued() {
    let b = Bench::new();
    let (_hub, mut child, _) = pull_that_hangs(&b);
    child.kill().unwrap();
    child.wait().unwrap();
    let hub = Hub::new(repository());
    pull(&hub, &b, 0);
    assert_eq!(ranges(&hub, GRAPH), ["bytes=20000-"]);
    assert_files(&b.path("store").join(NAME), &wanted());
}

/// A signal ends the wait for a server that sends nothing.
#[cfg(unix)]
#[test]
fn a_signal_ends_a_pull_at_once_and_keeps_what_came() {
    let b = Bench::new();
    let (_hub, mut child, part) = pull_that_hangs(&b);
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    // The server's silence would take 30 s to be noticed, four times.
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(part.metadata().unwrap().len(), 20_000);
    assert!(!b.path("store").join(NAME).exists());
}

#[test]
fn an_answer_that_breaks_off_is_continued() {
    let b = Bench::new();
    let hub = Hub::with(repository(), |_, a| match a.header("range") {
        None if a.outside && a.is_for(GRAPH) => HubReply::Cut(10_000),
        Some("bytes=10000-") => HubReply::Cut(10_000),
        _ => HubReply::Good,
    });
    pull(&hub, &b, 0);
    assert_eq!(ranges(&hub, GRAPH), ["all", "bytes=10000-", "bytes=20000-"]);
    assert_files(&b.path("store").join(NAME), &wanted());
}

#[test]
fn a_server_without_ranges_sends_the_whole_file_again() {
    let b = Bench::new();
    let hub = Hub::with(repository(), |_, a| match a.header("range") {
        None if a.outside && a.is_for(GRAPH) => HubReply::Cut(10_000),
        Some(_) => HubReply::Whole,
        _ => HubReply::Good,
    });
    pull(&hub, &b, 0);
    assert_eq!(ranges(&hub, GRAPH), ["all", "bytes=10000-"]);
    assert_files(&b.path("store").join(NAME), &wanted());
}

/// What an earlier run left may be anything.
#[test]
fn a_part_with_other_bytes_is_replaced() {
    let b = Bench::new();
    let partial = b.path("store").join(format!("{NAME}.partial"));
    std::fs::create_dir_all(partial.join("onnx")).unwrap();
    let whole = wanted()[&format!("onnx/{GRAPH}")].len();
    std::fs::write(partial.join(format!("onnx/{GRAPH}.part")), vec![7; 5_000]).unwrap();
    std::fs::write(partial.join("onnx/embed_tokens_int8.onnx.part"), vec![7; 9_999_999]).unwrap();
    std::fs::write(partial.join("onnx/vision_encoder_int8.onnx"), vec![7; 5]).unwrap();
    std::fs::write(partial.join("tokenizer.json.part"), &wanted()["tokenizer.json"]).unwrap();
    std::fs::write(partial.join("config.json"), "{}").unwrap();
    let hub = Hub::new(repository());
    pull(&hub, &b, 0);
    assert_eq!(ranges(&hub, GRAPH), ["bytes=5000-", "all"], "of {whole}");
    // One that is complete is only named.
    assert!(ranges(&hub, "tokenizer.json").is_empty());
    assert_files(&b.path("store").join(NAME), &wanted());
}

/// A run that was stopped while it fetched another variant.
#[test]
fn leftovers_do_not_become_part_of_the_model() {
    let b = Bench::new();
    let partial = b.path("store").join(format!("{NAME}.partial"));
    std::fs::create_dir_all(partial.join("onnx/folder")).unwrap();
    for name in [
        "onnx/decoder_model_merged.onnx",
        "onnx/vision_encoder.onnx.part",
        "onnx/folder/x",
        "descry-pull.json.AbCdEf.part",
    ] {
        std::fs::write(partial.join(name), "left over").unwrap();
    }
    pull(&Hub::new(repository()), &b, 0);
    assert_files(&b.path("store").join(NAME), &wanted());
    assert_eq!(names(&b.path("store").join(NAME).join("onnx")).len(), 3);
}

#[test]
fn a_file_with_another_hash_is_refused() {
    for file in [GRAPH, "/config.json"] {
        let b = Bench::new();
        let hub = Hub::with(repository(), move |_, a| if a.is_for(file) { HubReply::Wrong } else { HubReply::Good });
        let err = pull(&hub, &b, 1);
        let words = if file == GRAPH { "its SHA-256 is" } else { "git's hash of it is" };
        assert!(
            err.contains(file.trim_start_matches('/'))
                && err.contains("another file than it states")
                && err.contains(words),
            "{err}"
        );
        assert!(!b.path("store").join(NAME).exists());
        // What is wrong is not kept for the next run.
        let hub = Hub::new(repository());
        pull(&hub, &b, 0);
        assert_files(&b.path("store").join(NAME), &wanted());
    }
}

#[test]
fn refusals_name_the_fix_and_hide_the_token() {
    for (status, token, words) in [
        ("401 Unauthorized", None, "set the environment variable HF_TOKEN"),
        ("403 Forbidden", Some("hf_t0ken-of-mine"), "the user of HF_TOKEN"),
        ("404 Not Found", None, "Check the name and the revision"),
    ] {
        for at in ["api/", "/config.json"] {
            let b = Bench::new();
            let hub = Hub::with(
                repository(),
                move |_, a| if a.path().contains(at) { http(status, "") } else { HubReply::Good },
            );
            let mut command = hub.command(&b, &["model", "pull", NAME]);
            if let Some(token) = token {
                command.env("HF_TOKEN", token);
            }
            let (_, err) = run(&mut command, 1);
            let page = format!("http://127.0.0.1:{}/HuggingFaceTB/SmolVLM2-256M-Video-Instruct", hub.port);
            for words in [words, status, &page] {
                assert!(err.contains(words), "{words}: {err}");
            }
            assert!(!err.contains("t0ken"), "{err}");
            assert_eq!(hub.asked().iter().filter(|a| a.path().contains(at)).count(), 1, "a refusal is final");
        }
    }
}

#[test]
fn a_server_that_is_busy_is_asked_again() {
    let b = Bench::new();
    let refused = AtomicUsize::new(0);
    let hub = Hub::with(repository(), move |number, a| match number {
        0 => http("503 Service Unavailable", ""),
        1 => http("429 Too Many Requests", "Retry-After: 1\r\n"),
        // A signed address that has run out.
        _ if a.outside && a.is_for(GRAPH) && refused.fetch_add(1, Ordering::SeqCst) < 2 => http("403 Forbidden", ""),
        _ => HubReply::Good,
    });
    let mut command = hub.command(&b, &["model", "pull", NAME, "-v"]);
    let (_, err) = run(&mut command, 0);
    assert!(err.contains("answers 403 Forbidden; trying again") && !err.contains(SIGNATURE), "{err}");
    assert_files(&b.path("store").join(NAME), &wanted());
    // One that stays so.
    let b = Bench::new();
    let hub = Hub::with(repository(), |_, _| http("502 Bad Gateway", ""));
    let err = pull(&hub, &b, 1);
    assert!(err.contains("answers 502 Bad Gateway, 4 times in a row") && err.contains("goes on where it was"), "{err}");
    assert_eq!(hub.asked().len(), 4);
    // And one that nobody finds.
    let (_, err) = run(&mut crate::common::hub::command(&b, &["model", "pull", NAME]), 1);
    assert!(err.contains("http://127.0.0.1:9 cannot be reached: connection refused"), "{err}");
}

#[test]
fn redirects_have_an_end_and_stay_on_the_web() {
    for (to, words) in [
        ("/again", "redirects more than 5 times"),
        ("file:///etc/passwd", "not an address"),
        ("ftp://127.0.0.1/x", "none of a file on a web server"),
        ("", "not an address"),
    ] {
        let b = Bench::new();
        let hub = Hub::with(repository(), move |_, _| http("302 Found", &format!("Location: {to}\r\n")));
        let err = pull(&hub, &b, 1);
        assert!(err.contains(words), "{err}");
        assert!(hub.asked().len() <= 6);
    }
    // A repository that has moved: the hub leads to its own new address, which needs the token.
    let b = Bench::new();
    let hub = Hub::with(repository(), |_, a| match a.path().contains("HuggingFaceTB") {
        true => http("307 Temporary Redirect", &format!("Location: /{}\r\n", a.path().replace("HuggingFaceTB", "new"))),
        false => HubReply::Good,
    });
    run(hub.command(&b, &["model", "pull", NAME]).env("HF_TOKEN", "hf_t0ken-of-mine"), 0);
    let asked = hub.asked();
    assert!(
        asked.iter().filter(|a| a.path().contains("new/")).all(|a| a.header("authorization").is_some() != a.outside)
    );
    assert_files(&b.path("store").join(NAME), &wanted());
}

#[test]
fn hostile_listings_are_refused() {
    let graph = format!("onnx/{GRAPH}");
    let with = |name: &str, size: u64| {
        let mut listing = listing(&repository());
        let entry = json!({ "rfilename": name, "size": size, "lfs": { "sha256": "00".repeat(32), "size": size } });
        let siblings = listing["siblings"].as_array_mut().unwrap();
        siblings.retain(|sibling| sibling["rfilename"] != name);
        siblings.push(entry);
        listing
    };
    let climbing = format!("{graph}_data/../../../../escaped");
    for (listing, code, words) in [
        (with(&climbing, 4), 2, "not that of a file beside its graph"),
        (with("config.json", 1 << 40), 2, "config.json is larger than such a file can be"),
        (with(&graph, 1 << 60), 1, "its disk has"),
        (
            with("x", 4).as_object().map(|all| json!({ "sha": "../../x", "siblings": all["siblings"] })).unwrap(),
            1,
            "without its commit",
        ),
        (json!({ "sha": COMMIT, "siblings": [] }), 2, "has no config.json"),
        (json!({ "sha": COMMIT, "siblings": [], "filler": "x".repeat(9 << 20) }), 1, "more than a listing can have"),
        (json!([1, 2]), 1, "does not answer with the listing"),
    ] {
        let b = Bench::new();
        let hub = Hub::listing(repository(), &listing, |_, _| HubReply::Good);
        let err = pull(&hub, &b, code);
        assert!(err.contains(words), "{words}: {err}");
        assert!(!b.path("store").join(NAME).exists() && !b.path("escaped").exists());
        // Nothing of the graphs was fetched for it.
        assert!(ranges(&hub, GRAPH).is_empty());
    }
    // Names that no model needs are not asked for, whatever they are.
    let b = Bench::new();
    let hub = Hub::listing(repository(), &with("../../../../escaped", 4), |_, _| HubReply::Good);
    pull(&hub, &b, 0);
    assert_files(&b.path("store").join(NAME), &wanted());
}

#[test]
fn more_than_the_stated_bytes_are_not_taken() {
    let b = Bench::new();
    let hub = Hub::with(repository(), |_, a| match a.outside && a.is_for(GRAPH) {
        true => HubReply::Http("200 OK", String::new(), vec![7; 9 << 20]),
        false => HubReply::Good,
    });
    let err = pull(&hub, &b, 1);
    assert!(err.contains("sends more than the") && err.contains(GRAPH), "{err}");
    let part = b.path("store").join(format!("{NAME}.partial/onnx/{GRAPH}.part"));
    assert_eq!(part.metadata().unwrap().len(), 0);
}

/// descry says so before it fetches gigabytes.
#[test]
fn a_model_that_descry_cannot_run_is_refused_before_its_graphs_come() {
    let mut files: BTreeMap<String, Vec<u8>> = repository();
    files.insert("config.json".into(), br#"{"model_type": "whisper"}"#.to_vec());
    let (b, hub) = (Bench::new(), Hub::new(files));
    let err = pull(&hub, &b, 2);
    assert!(err.contains("whisper"), "{err}");
    assert!(hub.asked().iter().all(|a| !a.path().contains(".onnx")));
    run(&mut hub.command(&b, &["model", "rm", NAME]), 0);
    assert!(names(&b.path("store")).is_empty());
}

/// The hub may be at another commit tomorrow. What is here stays, and what is damaged must be the same again.
#[test]
fn a_model_stays_as_it_was_recorded() {
    let (b, hub) = (Bench::new(), Hub::new(repository()));
    pull(&hub, &b, 0);
    let path = b.path("store").join(NAME).join("tokenizer.json");
    std::fs::remove_file(&path).unwrap();
    let mut files = repository();
    files.insert("tokenizer.json".into(), vec![b' '; wanted()["tokenizer.json"].len()]);
    let err = pull(&Hub::new(files), &b, 2);
    assert!(err.contains("another tokenizer.json than the one that is known"), "{err}");
    assert!(!path.exists());
    pull(&hub, &b, 0);
    assert_files(&b.path("store").join(NAME), &wanted());
}

#[cfg(unix)]
#[test]
fn planted_links_in_the_partial_folder_are_not_followed() {
    let b = Bench::new();
    let partial = b.path("store").join(format!("{NAME}.partial"));
    std::fs::create_dir_all(&partial).unwrap();
    b.write("victim", b"mine");
    std::os::unix::fs::symlink(b.path("victim"), partial.join("tokenizer.json.part")).unwrap();
    let err = pull(&Hub::new(repository()), &b, 1);
    assert!(err.contains("symbolic link"), "{err}");
    assert_eq!(b.read("victim"), "mine");
}
