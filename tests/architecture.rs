//! The map in `src/lib.rs` is true: imports point downwards, without cycles, and every type name means one thing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Top-level modules from the ground up. Modules of one row do not import each other.
const LAYERS: &[&[&str]] = &[
    &[
        "address",
        "atomic_file",
        "digest",
        "error",
        "fingerprint",
        "guard",
        "interrupt",
        "limited_file",
        "lock",
        "markup",
        "message",
        "open_folder",
        "printable",
        "program",
        "program_files",
        "regular_file",
        "time",
        "wall",
    ],
    &["checkpoint", "look", "media", "serve"],
    &["mix", "voice"],
    &["scene"],
    &["isolate"],
    &["model"],
    &["pull"],
    &["ocr"],
    &["speech"],
    &["track"],
    &["pipeline"],
    &["live", "archive", "speak", "clipcap"],
    &["review"],
    &["cli", "fuzzing"],
];

/// Ground-floor files may use one another, without cycles.
const GROUND: usize = 0;

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// One file of `src`, and its code without comments, strings and test modules.
struct SourceFile {
    /// Module path, as `["media", "decode", "open"]`.
    module: Vec<String>,
    code: String,
}

fn sources() -> Vec<SourceFile> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    let files = paths.into_iter().map(|path| {
        let inner = path.strip_prefix(&root).unwrap().with_extension("");
        let mut module: Vec<String> = inner.iter().map(|part| part.to_str().unwrap().to_string()).collect();
        if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            module.pop();
        }
        SourceFile { module, code: strip(&fs::read_to_string(path).unwrap()) }
    });
    files.filter(|file| !file.module.is_empty() && file.module.last().is_none_or(|name| name != "tests")).collect()
}

/// Code up to the first test module, without comments and string contents.
fn strip(text: &str) -> String {
    let text = text.split("\n#[cfg(test)]\nmod ").next().unwrap();
    let mut code = String::new();
    for line in text.lines() {
        let line = line.trim_start();
        if line.starts_with("//") {
            continue;
        }
        let mut quoted = false;
        let mut previous = ' ';
        for c in line.chars() {
            if c == '"' && previous != '\\' && previous != '\'' {
                quoted = !quoted;
            } else if !quoted {
                code.push(c);
            }
            previous = c;
        }
        code.push('\n');
    }
    code
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Every path that starts with `crate::`, `super::` or `self::`, expanded from groups and made absolute.
fn imports(file: &SourceFile) -> BTreeSet<Vec<String>> {
    let mut found = BTreeSet::new();
    for head in ["crate", "super"] {
        for (at, _) in file.code.match_indices(&format!("{head}::")) {
            if file.code[..at].chars().next_back().is_some_and(|c| is_name(c) || c == '$' || c == ':') {
                continue;
            }
            let mut base: Vec<String> = if head == "crate" { Vec::new() } else { parent(&file.module) };
            let mut rest = &file.code[at + head.len() + 2..];
            while let Some(further) = rest.strip_prefix("super::") {
                base = parent(&base);
                rest = further;
            }
            expand(&base, rest, &mut found);
        }
    }
    found
}

fn parent(module: &[String]) -> Vec<String> {
    module[..module.len().saturating_sub(1)].to_vec()
}

/// Adds the paths of `rest` (`a::b`, or `a::{b, c::d}`) to `found`; returns what follows.
fn expand<'a>(base: &[String], rest: &'a str, found: &mut BTreeSet<Vec<String>>) -> &'a str {
    let mut path = base.to_vec();
    let mut rest = rest;
    loop {
        if let Some(mut inside) = rest.strip_prefix('{') {
            loop {
                inside = inside.trim_start_matches([' ', '\n', ',']);
                if let Some(after) = inside.strip_prefix('}') {
                    return after;
                }
                if inside.is_empty() {
                    return inside;
                }
                let before = inside.len();
                inside = expand(&path, inside, found);
                if inside.len() == before {
                    return inside;
                }
                // Skips ` as name`.
                inside = inside.trim_start_matches(|c: char| c != ',' && c != '}');
            }
        }
        let end = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
        if end == 0 {
            // A glob, or something that is no path.
            found.insert(path);
            return rest.strip_prefix('*').unwrap_or(rest);
        }
        path.push(rest[..end].to_string());
        rest = &rest[end..];
        match rest.strip_prefix("::") {
            Some(further) => rest = further,
            None => {
                found.insert(path);
                return rest;
            }
        }
    }
}

/// The longest prefix of a path that is a module with a file.
fn target(path: &[String], modules: &BTreeSet<Vec<String>>) -> Option<Vec<String>> {
    (1..=path.len()).rev().map(|n| path[..n].to_vec()).find(|prefix| modules.contains(prefix))
}

/// The path of a module.
type ModulePath = Vec<String>;
/// Which module imports which.
type Arrows = BTreeMap<ModulePath, BTreeSet<ModulePath>>;

/// All modules, and the imports between them.
fn arrows() -> (BTreeSet<ModulePath>, Arrows) {
    let files = sources();
    let modules: BTreeSet<ModulePath> = files.iter().map(|file| file.module.clone()).collect();
    let mut arrows = Arrows::new();
    for file in &files {
        for path in imports(file) {
            if let Some(to) = target(&path, &modules).filter(|to| *to != file.module) {
                arrows.entry(file.module.clone()).or_default().insert(to);
            }
        }
    }
    (modules, arrows)
}

#[test]
fn every_module_has_its_place_in_the_map() {
    let (modules, arrows) = arrows();
    let top: BTreeSet<&str> = modules.iter().map(|m| m[0].as_str()).collect();
    let known: BTreeSet<&str> = LAYERS.iter().flat_map(|layer| layer.iter().copied()).collect();
    assert_eq!(top, known);
    let map = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    for module in known {
        assert!(map.contains(&format!("`{module}`")), "lib.rs says nothing of {module}");
    }
    assert!(arrows.values().map(BTreeSet::len).sum::<usize>() > 150, "the imports are not read");
}

#[test]
fn imports_point_downwards() {
    let (_, arrows) = arrows();
    let mut upwards = Vec::new();
    for (from, targets) in &arrows {
        for to in targets {
            let (a, b) = (layer(&from[0]).unwrap(), layer(&to[0]).unwrap());
            let sideways = a == b && a != GROUND && from[0] != to[0];
            if b > a || sideways {
                upwards.push(format!("{} imports {}", from.join("::"), to.join("::")));
            }
        }
    }
    assert!(upwards.is_empty(), "{}", upwards.join("\n"));
}

/// A module's face (`mod.rs`) may re-export its children, and they may use what it defines for all of them; every other
/// circle is one.
#[test]
fn there_are_no_circles() {
    let (_, arrows) = arrows();
    let is_family = |a: &[String], b: &[String]| a.starts_with(b) || b.starts_with(a);
    let mut state: BTreeMap<&[String], bool> = BTreeMap::new();
    let mut circles = Vec::new();
    fn visit<'a>(
        at: &'a [String],
        arrows: &'a Arrows,
        is_family: &dyn Fn(&[String], &[String]) -> bool,
        state: &mut BTreeMap<&'a [String], bool>,
        trail: &mut Vec<&'a [String]>,
        circles: &mut Vec<String>,
    ) {
        match state.get(at) {
            Some(true) => return,
            Some(false) => {
                let start = trail.iter().position(|t| *t == at).unwrap_or(0);
                let names: Vec<String> = trail[start..].iter().chain([&at]).map(|m| m.join("::")).collect();
                circles.push(names.join(" → "));
                return;
            }
            None => {}
        }
        state.insert(at, false);
        trail.push(at);
        for to in arrows.get(at).into_iter().flatten() {
            if !is_family(at, to) {
                visit(to, arrows, is_family, state, trail, circles);
            }
        }
        trail.pop();
        state.insert(at, true);
    }
    for from in arrows.keys() {
        visit(from, &arrows, &is_family, &mut state, &mut Vec::new(), &mut circles);
    }
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn every_type_name_means_one_thing() {
    let mut defined: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in sources() {
        for line in file.code.lines() {
            let line = line.trim_start();
            let line = ["pub(crate) ", "pub(super) ", "pub "].iter().find_map(|p| line.strip_prefix(p)).unwrap_or(line);
            let line = match line.strip_prefix("pub(in ") {
                Some(rest) => rest.split_once(") ").map_or(rest, |(_, rest)| rest),
                None => line,
            };
            let kinds = ["struct ", "enum ", "trait ", "union ", "type "];
            let Some((kind, rest)) = kinds.iter().find_map(|k| line.strip_prefix(k).map(|rest| (*k, rest))) else {
                continue;
            };
            let name: String = rest.chars().take_while(|c| is_name(*c)).collect();
            // Associated types have the names that their traits give them.
            let associated = kind == "type "
                && ["Err", "Error", "Item", "Output", "Input", "Message", "Work"].contains(&name.as_str());
            if !associated && name.starts_with(char::is_uppercase) {
                defined.entry(name).or_default().insert(file.module.join("::"));
            }
        }
    }
    assert!(defined.len() > 250, "the definitions are not read");
    let double: Vec<String> = defined
        .into_iter()
        .filter(|(_, places)| places.len() > 1)
        .map(|(name, places)| format!("{name}: {}", places.into_iter().collect::<Vec<_>>().join(", ")))
        .collect();
    assert!(double.is_empty(), "{}", double.join("\n"));
}

/// C enumerations can hold integers that no Rust `enum` has. `media::ffmpeg` reads them as integers.
#[test]
fn enumerations_of_ffmpeg_are_read_in_one_place() {
    // Fields, and the methods of `ffmpeg_next` that read them.
    const READS: [&str; 22] = [
        ".parameters()",
        ".medium()",
        ".kind()",
        ".format()",
        ".color_space()",
        ".color_range()",
        ".color_primaries()",
        ".color_transfer_characteristic()",
        ".chroma_location()",
        ".discard()",
        ".profile()",
        ").colorspace ==",
        ").color_range",
        ").codec_type",
        ").codec_id",
        ").pix_fmt",
        ").pict_type",
        ").field_order",
        "transmute::<",
        "&*av.",
        "&mut *context.",
        "av_hwdevice_find_type_by_name",
    ];
    let mut found = Vec::new();
    let mut seen = 0;
    for file in sources() {
        if !file.code.contains("ffmpeg_next") || file.module.starts_with(&["media".into(), "ffmpeg".into()]) {
            continue;
        }
        seen += 1;
        for line in file.code.lines() {
            // The format of a container is a pointer to a table, and errors of the system have a kind.
            let line = line.replace("input.format().name()", "").replace("match e.kind()", "");
            for read in READS.iter().filter(|read| line.contains(**read)) {
                found.push(format!("{}: {read}", file.module.join("::")));
            }
        }
    }
    assert!(seen > 10, "the files are not read");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn groups_and_relative_paths_are_read() {
    let file = SourceFile {
        module: ["a", "b", "c"].map(String::from).to_vec(),
        code: "use crate::x::{self, y::Z, w};\nuse super::d::E;\nlet f = super::super::g::h();\nuse crate::p::*;"
            .into(),
    };
    let found: BTreeSet<String> = imports(&file).iter().map(|path| path.join("::")).collect();
    let want = ["a::b::d::E", "a::g::h", "p", "x::self", "x::w", "x::y::Z"];
    assert_eq!(found, want.map(String::from).into());
}
