//! The documentation: every relative link and anchor resolves, every page is reachable from the README, and the README
//! stays short.
//!
//! The tests read links as GitHub renders them: headings become anchors by its rules, and code holds no links.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The README must have fewer lines than this.
const README_LINES: usize = 250;

/// The pages outside `docs/`.
const PAGES: [&str; 7] = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "RELEASING.md",
    "models/builtin/README.md",
    "samples/README.md",
];

fn root() -> PathBuf {
    // A test compiled without Cargo runs in the root of the repository.
    option_env!("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from)
}

fn read(page: &Path) -> String {
    fs::read_to_string(root().join(page)).unwrap_or_else(|e| panic!("{}: {e}", page.display()))
}

/// The pages in `docs/`.
fn docs() -> Vec<PathBuf> {
    let folder = root().join("docs");
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut pages: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry of docs/").file_name())
        .filter(|name| Path::new(name).extension().is_some_and(|x| x == "md"))
        .map(|name| Path::new("docs").join(name))
        .collect();
    pages.sort();
    pages
}

fn pages() -> Vec<PathBuf> {
    PAGES.iter().map(PathBuf::from).chain(docs()).collect()
}

/// The lines of a page that are not inside a fenced block, with their numbers.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut fence: Option<&str> = None;
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let start = line.trim_start();
        match fence {
            Some(mark) if start.starts_with(mark) => fence = None,
            Some(_) => {}
            None if start.starts_with("```") => fence = Some("```"),
            None if start.starts_with("~~~") => fence = Some("~~~"),
            None => lines.push((number + 1, line)),
        }
    }
    lines
}

/// A line without its code spans.
fn without_code(line: &str) -> String {
    let mut out = String::new();
    for (n, part) in line.split('`').enumerate() {
        if n % 2 == 0 {
            out.push_str(part);
        } else {
            // A placeholder: the text of a link may be code, and a link without text is still a link.
            out.push('_');
        }
    }
    out
}

/// The targets of inline links and pictures: `[text](target)`, `![text](target)`.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let line = without_code(line);
        let mut rest = line.as_str();
        while let Some(at) = rest.find("](") {
            rest = &rest[at + 2..];
            let Some(end) = rest.find(')') else { break };
            // A title may follow the target.
            let target = rest[..end].split_whitespace().next().unwrap_or("");
            found.push((number, target.to_string()));
            rest = &rest[end..];
        }
    }
    found
}

/// The anchor that GitHub gives a heading: lower case, punctuation removed, spaces to hyphens.
fn slug(heading: &str) -> String {
    let mut text = String::new();
    let mut rest = heading.trim();
    // Only the text of a link counts.
    while let Some(open) = rest.find('[') {
        let (before, after) = rest.split_at(open);
        text.push_str(before);
        if let Some((mid, end)) = after.find("](").and_then(|mid| Some((mid, mid + after[mid..].find(')')?))) {
            text.push_str(&after[1..mid]);
            rest = &after[end + 1..];
        } else {
            text.push('[');
            rest = &after[1..];
        }
    }
    text.push_str(rest);
    let kept =
        text.to_lowercase().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_')).collect::<String>();
    kept.replace(' ', "-")
}

/// The anchors of a page. Headings with the same text get numbers.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut all = BTreeSet::new();
    for (_, line) in prose(text) {
        let heading = line.trim_start_matches('#');
        let level = line.len() - heading.len();
        if !(1..=6).contains(&level) || !heading.starts_with(' ') {
            continue;
        }
        let slug = slug(heading);
        let count = seen.entry(slug.clone()).or_default();
        all.insert(if *count == 0 { slug } else { format!("{slug}-{count}") });
        *count += 1;
    }
    all
}

/// Resolves a link target to a path from the root. `None` if it leads out of the repository.
fn resolve(page: &Path, target: &str) -> Option<PathBuf> {
    let mut path = page.parent().map(Path::to_path_buf).unwrap_or_default();
    for part in Path::new(target).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            Component::Normal(name) => path.push(name),
            _ => return None,
        }
    }
    Some(path)
}

fn is_external(target: &str) -> bool {
    target.contains("://") || target.starts_with("mailto:")
}

/// Explains what is wrong with a link. `None` if it is good.
fn fault(page: &Path, text: &str, target: &str) -> Option<String> {
    let (path, anchor) = match target.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor)),
        None => (target, None),
    };
    if path.is_empty() && anchor.is_none_or(str::is_empty) {
        return Some("the link is empty".into());
    }
    let Some(file) = (if path.is_empty() { Some(page.to_path_buf()) } else { resolve(page, path) }) else {
        return Some("the link leads out of the repository".into());
    };
    if !root().join(&file).exists() {
        return Some(format!("{} does not exist", file.display()));
    }
    let anchor = anchor?;
    if file.extension().is_none_or(|x| x != "md") {
        return Some(format!("{} is not a page with anchors", file.display()));
    }
    let there = if file == page { anchors(text) } else { anchors(&read(&file)) };
    (!there.contains(anchor)).then(|| format!("{} has no heading #{anchor}", file.display()))
}

#[test]
fn every_link_resolves() {
    let mut faults = Vec::new();
    let mut count = 0;
    for page in pages() {
        let text = read(&page);
        for (line, target) in links(&text).into_iter().filter(|(_, target)| !is_external(target)) {
            count += 1;
            if let Some(fault) = fault(&page, &text, &target) {
                faults.push(format!("{}:{line}: ({target}): {fault}", page.display()));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    assert!(count > 50, "found only {count} links: is the link parser broken?");
}

#[test]
fn every_page_is_reachable_from_the_readme() {
    let mut reached = BTreeSet::from([PathBuf::from("README.md")]);
    let mut open = vec![PathBuf::from("README.md")];
    while let Some(page) = open.pop() {
        for (_, target) in links(&read(&page)).into_iter().filter(|(_, target)| !is_external(target)) {
            let path = target.split('#').next().unwrap_or("");
            if let Some(next) = resolve(&page, path).filter(|p| p.extension().is_some_and(|x| x == "md"))
                && root().join(&next).is_file()
                && reached.insert(next.clone())
            {
                open.push(next);
            }
        }
    }
    let lost: Vec<String> =
        pages().into_iter().filter(|page| !reached.contains(page)).map(|page| page.display().to_string()).collect();
    assert!(lost.is_empty(), "no path of links leads from README.md to {}", lost.join(", "));
}

#[test]
fn the_readme_is_short() {
    let lines = read(Path::new("README.md")).lines().count();
    assert!(lines < README_LINES, "README.md has {lines} lines, but must have fewer than {README_LINES}");
}

#[test]
fn links_are_found_outside_code() {
    let text =
        "See [a](one.md), ![b](two.jpg \"title\") and `[no](code.md)`.\n```\n[no](fenced.md)\n```\n[`c`](three.md#x)";
    let found: Vec<String> = links(text).into_iter().map(|(_, target)| target).collect();
    assert_eq!(found, ["one.md", "two.jpg", "three.md#x"]);
}

#[test]
fn anchors_match_those_of_github() {
    let text = "# One long film, in parts!\n## `--by` words\n## Same\n## Same\n#no heading\n## [Linked](x.md) name\n## descry_ray";
    let expected = ["--by-words", "descry_ray", "linked-name", "one-long-film-in-parts", "same", "same-1"];
    assert_eq!(anchors(text).into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn broken_links_are_found() {
    let page = Path::new("docs/describe.md");
    let text = "# Title";
    for good in ["../README.md", "live.md", "#title", "../samples/bikes.mp4", "../examples/service/"] {
        assert_eq!(fault(page, text, good), None, "{good}");
    }
    for bad in
        ["absent.md", "#absent", "live.md#absent", "../../outside.md", "/README.md", "#", "../samples/bikes.mp4#x"]
    {
        assert!(fault(page, text, bad).is_some(), "{bad}");
    }
}
