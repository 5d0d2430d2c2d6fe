//! Models that are pulled: a fault at each call and a power failure after each change. A model is whole, or not there.

use std::collections::BTreeMap;
use std::fs;

use crate::attempt::{Attempt, clear, copy, each_call};
use crate::common::Bench;
use crate::common::hub::{Hub, assert_files, command, files_of, run};
use crate::everything;
use crate::power::each_failure;

const NAME: &str = "smolvlm2-256m";

/// The files of a repository, and those of them that belong to a variant or to all.
fn repository(variants: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let mut files = files_of("tests/models/hub", ("_uint8", "_int8"));
    let is_of = |name: &str, variant: &str| name.contains("_int8") == (variant == "int8");
    files.retain(|name, _| !name.starts_with("onnx/") || variants.iter().any(|variant| is_of(name, variant)));
    files
}

/// A bench whose runs have a hub, and the folder `store` below `folder`.
fn bench(folder: &str) -> (Bench, Hub) {
    let (b, hub) = (Bench::new(), Hub::new(repository(&["int8", "fp32"])));
    let path = |name: &str| b.path(name).display().to_string();
    let environment =
        format!("HF_ENDPOINT=http://127.0.0.1:{}\nHF_HOME={}\nDESCRY_MODELS={}\n", hub.port, path("hf"), path(folder));
    b.write("environment", environment.as_bytes());
    (b, hub)
}

/// Whether the model is there; panics if a file of it is missing or is another one.
fn is_whole(b: &Bench, store: &str, variants: &[&str]) -> bool {
    let folder = b.path(store).join(NAME);
    if folder.exists() {
        assert_files(&folder, &repository(variants));
    }
    folder.exists()
}

/// The pull is repeated, and ends.
fn finish(b: &Bench, hub: &Hub, (store, variants, args): (&str, &[&str], &[&str]), about: &str) {
    let mut again = hub.command(b, args);
    run(again.env("DESCRY_MODELS", b.path(store)), 0);
    assert!(is_whole(b, store, variants), "{about}");
    let left: Vec<_> = fs::read_dir(b.path(store)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [NAME], "{about}");
}

#[test]
fn a_pull_survives_a_fault_at_any_call() {
    let (b, hub) = bench("store");
    let args = ["model", "pull", NAME];
    let examine = |success: bool, about: &str| {
        let whole = is_whole(&b, "store", &["int8"]);
        assert!(whole || !success, "{about}: success is reported, and the model is missing");
        finish(&b, &hub, ("store", &["int8"], &args), about);
    };
    let attempt = Attempt { or_code: 2, ..Attempt::new(args.to_vec(), "store", 1) };
    each_call(&b, &attempt, &|| clear(&b, "store"), &examine);
}

/// Another variant comes into the folder of a model that is in use, which can be used at any time.
#[test]
fn another_variant_survives_a_fault_at_any_call() {
    let (b, hub) = bench("store");
    hub.run(&b, &["model", "pull", NAME], 0);
    fs::rename(b.path("store"), b.path("old")).unwrap();
    let args = ["model", "pull", NAME, "--precision", "fp32"];
    let usable = |store: &str, about: &str| {
        let mut show = command(&b, &["model", "show", NAME]);
        let out = show.env("DESCRY_MODELS", b.path(store)).output().unwrap();
        assert!(out.status.success(), "{about}: {}", String::from_utf8_lossy(&out.stderr));
    };
    let examine = |success: bool, about: &str| {
        usable("store", about);
        assert!(!success || is_whole(&b, "store", &["int8", "fp32"]), "{about}");
        finish(&b, &hub, ("store", &["int8", "fp32"], &args), about);
    };
    let most = if everything() { usize::MAX } else { 12 };
    let attempt = Attempt { or_code: 2, most, ..Attempt::new(args.to_vec(), "store", 1) };
    each_call(&b, &attempt, &|| copy(&b.path("old"), &b.path("store")), &examine);
}

#[test]
fn removing_a_model_survives_a_fault_at_any_call() {
    let (b, hub) = bench("store");
    hub.run(&b, &["model", "pull", NAME], 0);
    fs::rename(b.path("store"), b.path("old")).unwrap();
    let args = ["model", "rm", NAME];
    let examine = |success: bool, about: &str| {
        assert!(!is_whole(&b, "store", &["int8"]) || !success, "{about}: success is reported, and the model is there");
        let _ = command(&b, &args).output().unwrap();
        assert!(!b.path("store").join(NAME).exists(), "{about}");
        finish(&b, &hub, ("store", &["int8"], &["model", "pull", NAME]), about);
    };
    let attempt = Attempt { or_code: 2, ..Attempt::new(args.to_vec(), "store", 1) };
    each_call(&b, &attempt, &|| copy(&b.path("old"), &b.path("store")), &examine);
}

#[test]
fn a_pull_survives_a_power_failure_at_any_time() {
    let (b, hub) = bench("disk/store");
    fs::create_dir(b.path("disk")).unwrap();
    let args = ["model", "pull", NAME];
    each_failure(&b, &args, 0, &|ended, about| {
        assert!(is_whole(&b, "after/store", &["int8"]) || !ended, "{about}: not all is on the disk");
        finish(&b, &hub, ("after/store", &["int8"], &args), about);
    });
    // And the same of another variant.
    let more = ["model", "pull", NAME, "--precision", "fp32"];
    each_failure(&b, &more, 0, &|ended, about| {
        let mut show = command(&b, &["model", "show", NAME]);
        run(show.env("DESCRY_MODELS", b.path("after/store")), 0);
        assert!(!ended || is_whole(&b, "after/store", &["int8", "fp32"]), "{about}");
        finish(&b, &hub, ("after/store", &["int8", "fp32"], &more), about);
    });
}
