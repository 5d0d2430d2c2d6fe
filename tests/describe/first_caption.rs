//! `docs/models.md`, from nothing to the first caption: every block runs as it is written, against a hub, a server of models
//! and files that are here. What makes models in Python is replaced: its options are read by its own parser, and then a
//! model of the tests takes the place of what it would make.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use crate::clipcap_hub;
use crate::clipcap_import::{KNOWN, checkpoint};
use crate::common::hub::{Hub, files_of};
use crate::common::model_server::{ModelServer, Reply};
use crate::common::{Bench, TINY, root, sample};

const SECTION: &str = "\n## From nothing to the first caption\n";

/// The blocks of the section, by their headings.
fn blocks() -> BTreeMap<String, String> {
    let page = fs::read_to_string(root().join("docs/models.md")).unwrap();
    let section = page.split_once(SECTION).expect("the section is there").1;
    let section = section.split("\n## ").next().unwrap();
    let mut blocks = BTreeMap::new();
    for part in section.split("\n### ").skip(1) {
        let (heading, text) = part.split_once('\n').unwrap();
        let [_, block, _] = text.split("```").collect::<Vec<_>>()[..] else { panic!("{heading}: one block") };
        let block = block.strip_prefix("sh\n").unwrap_or_else(|| panic!("{heading}: {block}"));
        assert!(blocks.insert(heading.to_string(), block.to_string()).is_none(), "{heading} twice");
    }
    blocks
}

/// A folder with a film, and descry on the path.
struct Place {
    bench: Bench,
    environment: Vec<(&'static str, String)>,
}

impl Place {
    fn new() -> Place {
        let bench = Bench::new();
        fs::create_dir_all(bench.path("bin")).unwrap();
        fs::create_dir_all(bench.path("films")).unwrap();
        symlink(env!("CARGO_BIN_EXE_descry"), bench.path("bin/descry")).unwrap();
        for name in ["film.mp4", "films/bikes.mp4"] {
            bench.ffmpeg(&format!("-i {} -t 2 -c copy {name}", sample("bikes.mp4")));
        }
        let path = format!("{}:{}", bench.path("bin").display(), std::env::var("PATH").unwrap());
        let [home, store] = ["home", "store"].map(|name| bench.path(name).display().to_string());
        // Nobody listens at the port of the hub.
        let hub = "http://127.0.0.1:9".to_string();
        let environment = vec![
            ("PATH", path),
            ("HOME", home.clone()),
            ("HF_HOME", home),
            ("DESCRY_MODELS", store),
            ("HF_ENDPOINT", hub),
        ];
        Place { bench, environment }
    }

    fn set(&mut self, name: &'static str, value: String) {
        self.environment.push((name, value));
    }

    /// A program on the path.
    fn program(&self, name: &str, script: &str) {
        let path = self.bench.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\nset -eu\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs a block and returns its standard output.
    fn run(&self, block: &str) -> String {
        let mut shell = Command::new("sh");
        shell.args(["-euc", block]).current_dir(self.bench.path(""));
        for name in ["HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "DESCRY_MODEL", "DESCRY_MODEL_NAME", "XDG_DATA_HOME"]
        {
            shell.env_remove(name);
        }
        let out = shell.envs(self.environment.iter().map(|(n, v)| (n, v))).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(out.status.success(), "{block}\n{}\n{}", text(&out.stdout), text(&out.stderr));
        text(&out.stdout)
    }

    /// The cues of the film.
    fn track(&self) -> String {
        let track = self.bench.read("film.vtt");
        assert!(track.contains("-->"), "{track}");
        track
    }
}

/// Runs a block that needs nothing but a hub with these files.
fn pulled(block: &str, files: BTreeMap<String, Vec<u8>>) -> (Place, String) {
    let mut place = Place::new();
    let hub = Hub::new(files);
    place.set("HF_ENDPOINT", format!("http://127.0.0.1:{}", hub.port));
    let out = place.run(block);
    let asked = hub.asked();
    assert!(asked.iter().any(|a| a.path().ends_with(".onnx")), "{block}: {asked:?}");
    (place, out)
}

/// Runs a block that imports a checkpoint, with a small one that no preset knows.
fn imported(block: &str) {
    let mut place = Place::new();
    let hub = Hub::new(clipcap_hub::repository());
    place.set("HF_ENDPOINT", format!("http://127.0.0.1:{}", hub.port));
    fs::copy(checkpoint("clipcap.pt"), place.bench.path("coco_weights.pt")).unwrap();
    assert!(block.contains("--preset coco-mlp"), "{block}");
    place.run(&block.replace("--preset coco-mlp", &KNOWN.join(" ")));
    assert!(hub.asked().iter().any(|a| a.path().ends_with("/model.safetensors")), "{block}");
    place.track();
}

/// Runs a block that makes a model in Python.
fn made(block: &str) {
    let place = Place::new();
    symlink(root().join("tools"), place.bench.path("tools")).unwrap();
    let real = Command::new("sh").args(["-c", "command -v python3"]).output().unwrap().stdout;
    let real = String::from_utf8(real).unwrap();
    let script = format!(
        "import shutil, sys\n\
         sys.dont_write_bytecode = True\n\
         sys.path.insert(0, 'tools')\n\
         assert sys.argv[1] == 'tools/models.py', sys.argv\n\
         del sys.argv[0]\n\
         import models\n\
         models.train = lambda args: shutil.copytree('{}', args.out)\n\
         models.main()\n",
        root().join(TINY).display()
    );
    place.bench.write("replaced.py", script.as_bytes());
    place.program("bin/python3", "test \"$*\" = \"-m venv .venv\"; mkdir -p .venv; cp -r environment .venv/bin");
    place.program("environment/pip", "test \"$1 $2\" = \"install -r\"; test -s \"$3\"");
    place.program("environment/python", &format!("exec {} replaced.py \"$@\"", real.trim()));
    place.run(block);
    place.track();
}

#[test]
fn every_block_runs_as_it_is_written() {
    let smolvlm = || files_of("tests/models/hub", ("_uint8", "_int8"));
    for (heading, block) in blocks() {
        match heading.as_str() {
            "The built-in model" => {
                let place = Place::new();
                place.run(&block);
                assert!(place.track().contains("descry-builtin"), "{}", place.track());
            }
            "A model that descry knows by name" | "Any other model of the hub" => {
                pulled(&block, smolvlm()).0.track();
            }
            "A folder in the hub's layout" => {
                let place = Place::new();
                fs::create_dir(place.bench.path("models")).unwrap();
                let folder = place.bench.path("models/SmolVLM2-256M-Video-Instruct");
                symlink(root().join("tests/models/hub"), folder).unwrap();
                place.run(&block);
                place.track();
            }
            "A search with CLIP" => {
                let (_, found) = pulled(&block, files_of("tests/models/clip", ("_int8", "_int8")));
                assert!(found.contains("bikes.mp4"), "{found}");
            }
            "A model on a server" => {
                let place = Place::new();
                let server = ModelServer::new(|_, _| Reply::text("A man rides a bike."));
                place.program("bin/ollama", "test \"$1 $2\" = \"pull qwen2.5vl:7b\"");
                // Ollama's port may be taken.
                assert!(block.contains("http://localhost:11434/v1"), "{block}");
                place.run(&block.replace("localhost:11434", &format!("localhost:{}", server.port)));
                assert!(place.track().contains("A man rides a bike"), "{}", place.track());
                assert!(server.asked().iter().all(|a| a.body["model"] == "qwen2.5vl:7b"));
            }
            "A published ClipCap" => imported(&block),
            "A mapping network that you train" => made(&block),
            _ => panic!("{heading}: no test runs its block"),
        }
    }
    assert_eq!(blocks().len(), 8);
}
