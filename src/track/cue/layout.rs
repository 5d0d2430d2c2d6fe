//! Breaking a text into pages of lines. Lengths count characters, as subtitle guidelines do.

use super::phrase::is_phrase_end;
use super::sentence::joins;

/// Pages of at most `lines` lines of at most `width` characters. A page ends where a phrase begins, unless that would leave
/// it half empty.
pub(in crate::track) fn paginate(text: &str, width: usize, lines: usize) -> Vec<Vec<String>> {
    let all = wrap(text, width);
    if all.len() <= lines {
        return vec![all];
    }
    let words: Vec<&str> = text.split(' ').collect();
    if words.iter().any(|w| w.chars().count() > width) {
        return all.chunks(lines).map(<[String]>::to_vec).collect();
    }
    let mut pages = Vec::new();
    let mut rest = &words[..];
    while !rest.is_empty() {
        let fits = |n: usize| fill(&rest[..n].join(" "), width).len() <= lines;
        let full = (1..=rest.len()).take_while(|&n| fits(n)).count().max(1);
        let phrase = (full.div_ceil(2)..full).rev().map(|n| n + 1).find(|&n| n == rest.len() || is_phrase_end(rest, n));
        let (page, left) = rest.split_at(phrase.unwrap_or(full));
        pages.push(wrap(&page.join(" "), width));
        rest = left;
    }
    pages
}

/// A text in lines of at most `width` characters, as even as possible.
pub(crate) fn lines(text: &str, width: usize) -> Vec<String> {
    wrap(text, width)
}

/// Lines of at most `width` characters, as even as possible. A longer word is broken.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let greedy = fill(text, width);
    if greedy.len() < 2 {
        return greedy;
    }
    // The narrowest width that needs no more lines and breaks no word makes them even.
    let longest = text.split(' ').map(|w| w.chars().count()).max().unwrap_or(1);
    let mut even = greedy.clone();
    for narrower in (longest.min(width)..width).rev() {
        let lines = fill(text, narrower);
        if lines.len() > greedy.len() {
            break;
        }
        even = lines;
    }
    even
}

/// Lines of at most `width` characters, each as full as possible.
fn fill(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in text.split(' ').filter(|w| !w.is_empty()) {
        let letters: Vec<char> = word.chars().collect();
        if used > 0 && used + 1 + letters.len() > width {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        let mut left = &letters[..];
        while left.len() > width {
            // A mark stays with its letter, if the line can hold both.
            let cut = (1..=width).rev().find(|&n| !joins(left[n]) && left[n - 1] != '\u{200d}').unwrap_or(width);
            lines.push(left[..cut].iter().collect());
            left = &left[cut..];
        }
        line.extend(left);
        used += left.len();
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_even() {
        assert_eq!(
            wrap("A group of people standing around a table with food.", 42),
            ["A group of people standing", "around a table with food."]
        );
        assert_eq!(wrap("internationalisation bee", 20), ["internationalisation", "bee"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("abe\u{301}d", 3), ["ab", "e\u{301}d"]);
    }
}
