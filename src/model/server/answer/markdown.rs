//! Markdown to plain text: blocks of lines, and the marks inside a line.

/// The paragraphs, list items and headings of a text, each on one line. A heading comes only if nothing else does.
pub(super) fn blocks(text: &str) -> Vec<String> {
    let (mut blocks, mut headings) = (Vec::new(), Vec::new());
    let mut open: Option<String> = None;
    for line in text.lines() {
        let line = line.trim().trim_start_matches(['>', ' ']);
        let is_fence = line.starts_with("```") || line.starts_with("~~~");
        let is_rule = line.len() >= 3 && line.chars().all(|c| matches!(c, '-' | '*' | '_' | '=' | ' '));
        if line.is_empty() || is_fence || is_rule {
            blocks.extend(open.take());
            // A whole answer may be fenced on one line.
            let inside = line.trim_matches(['`', '~']).trim();
            if is_fence && line.len() > 6 && line.ends_with("```") && !inside.is_empty() {
                blocks.push(inside.to_string());
            }
        } else if let Some(heading) = heading(line) {
            blocks.extend(open.take());
            headings.push(heading.to_string());
        } else if let Some(item) = item(line) {
            blocks.extend(open.replace(item.to_string()));
        } else if open.as_ref().is_some_and(|before| before.trim_end_matches(['*', '_']).ends_with(':')) {
            // A line that announces the next one.
            blocks.extend(open.replace(line.to_string()));
        } else {
            match &mut open {
                Some(paragraph) => {
                    paragraph.push(' ');
                    paragraph.push_str(line);
                }
                None => open = Some(line.to_string()),
            }
        }
    }
    blocks.extend(open);
    blocks.extend(headings);
    blocks
}

fn heading(line: &str) -> Option<&str> {
    let text = line.trim_start_matches('#');
    (text.len() < line.len() && text.starts_with(' ')).then(|| text.trim_matches(['#', ' ']))
}

/// The text of a list item.
fn item(line: &str) -> Option<&str> {
    if let Some(text) = ["- ", "* ", "+ ", "• ", "– "].iter().find_map(|mark| line.strip_prefix(mark)) {
        return Some(text.trim());
    }
    let digits = line.len() - line.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let rest = line[digits..].strip_prefix(['.', ')'])?;
    ((1..=2).contains(&digits) && rest.starts_with(' ')).then(|| rest.trim())
}

/// A line without emphasis, code marks and the targets of links.
pub(super) fn without_marks(line: &str) -> String {
    let line = without_links(line).replace("**", "").replace("__", "").replace('`', "");
    let mut out = String::with_capacity(line.len());
    let chars: Vec<char> = line.chars().collect();
    for (at, &c) in chars.iter().enumerate() {
        let is_word = |c: Option<&char>| c.is_some_and(|c| c.is_alphanumeric());
        let before = at.checked_sub(1).and_then(|n| chars.get(n));
        // Inside a word, or between numbers, it is no mark.
        let is_inside = is_word(before) && is_word(chars.get(at + 1));
        let is_alone = before.is_none_or(|c| *c == ' ') && chars.get(at + 1).is_none_or(|c| *c == ' ');
        if !matches!(c, '*' | '_') || is_inside || is_alone {
            out.push(c);
        }
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `[text](target)` and `![text](target)` to `text`.
fn without_links(line: &str) -> String {
    let (mut out, mut rest) = (String::new(), line);
    while let Some(start) = rest.find('[') {
        let after = &rest[start + 1..];
        let link = after.find("](").and_then(|middle| Some((middle, middle + 2 + after[middle + 2..].find(')')?)));
        let Some((middle, end)) = link.filter(|(middle, _)| !after[..*middle].contains('[')) else {
            out.push_str(&rest[..=start]);
            rest = after;
            continue;
        };
        out.push_str(rest[..start].trim_end_matches('!'));
        out.push_str(&after[..middle]);
        rest = &after[end + 1..];
    }
    out + rest
}
