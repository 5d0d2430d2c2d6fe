//! How descry's pages look: one sheet of colours, type and components, which every page uses besides a small one of its own.
//!
//! A page that is served links the sheet. A page that is a file contains it, under a policy that lets nothing else in; the
//! same texts give the same bytes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};

use crate::markup::escape;

/// The sheet of all pages.
pub(crate) const STYLE: &str = include_str!("look.css");
/// The icon, as SVG.
pub(crate) const ICON: &str = include_str!("icon.svg");

/// A page in English up to the start of its body: a file without scripts, whose policy allows only its style and embedded
/// pictures. `own`: the page's sheet, which follows the common one.
pub(crate) fn page_start(title: &str, own: &str) -> String {
    let style = format!("{STYLE}\n{own}");
    let hash = BASE64.encode(Sha256::digest(&style));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; \
         style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{}</title>\n<style>{style}</style>\n</head>\n<body>\n",
        escape(title)
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Colour = [f64; 3];

    /// The colours of a block that begins with this text.
    fn colours(start: &str) -> BTreeMap<&'static str, Colour> {
        let block = STYLE.split_once(start).unwrap().1.split_once('}').unwrap().0;
        let colour = |line: &'static str| {
            let (name, value) = line.trim().strip_prefix("--")?.strip_suffix(';')?.split_once(": ")?;
            let digits = value.strip_prefix('#')?;
            let each = digits.len() / 3;
            let part = |n: usize| {
                let digits = &digits[n * each..][..each];
                let value = u8::from_str_radix(&digits.repeat(2)[..2], 16).unwrap();
                // WCAG 2.2: relative luminance.
                let value = f64::from(value) / 255.0;
                if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
            };
            Some((name, [part(0), part(1), part(2)]))
        };
        block.lines().filter_map(colour).collect()
    }

    fn contrast(a: Colour, b: Colour) -> f64 {
        let luminance = |[r, g, b]: Colour| 0.2126 * r + 0.7152 * g + 0.0722 * b;
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn text_and_controls_have_enough_contrast_in_both_themes() {
        assert!((contrast([0.0; 3], [1.0; 3]) - 21.0).abs() < 1e-9);
        let light = colours(":root {");
        let dark: BTreeMap<_, _> =
            light.clone().into_iter().chain(colours("@media (prefers-color-scheme: dark) {\n  :root {")).collect();
        assert_ne!(light["ink"], dark["ink"]);
        for theme in [&light, &dark] {
            for ground in ["ground", "card"] {
                for text in ["ink", "soft", "accent", "good", "wait", "bad"] {
                    let ratio = contrast(theme[text], theme[ground]);
                    assert!(ratio >= 4.5, "{text} on {ground}: {ratio:.2}");
                }
                assert!(contrast(theme["line"], theme[ground]) >= 3.0, "line on {ground}");
            }
            assert!(contrast(theme["on-accent"], theme["accent"]) >= 4.5);
            assert!(contrast(theme["on-screen"], theme["screen"]) >= 4.5);
        }
    }

    /// Every class that the sheet knows is described where people look for it, and every token that is used exists.
    #[test]
    fn components_are_documented_and_tokens_exist() {
        let guide = include_str!("../../CONTRIBUTING.md");
        let names = |prefix: char| {
            let starts = STYLE.match_indices(prefix).map(|(at, _)| &STYLE[at + 1..]);
            let names = starts.map(|s| &s[..s.find(|c: char| !(c.is_alphanumeric() || c == '-')).unwrap_or(s.len())]);
            names.filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase())).collect::<Vec<_>>()
        };
        let classes = names('.');
        assert!(classes.len() > 20, "{classes:?}");
        for class in classes {
            assert!(guide.contains(class), "CONTRIBUTING.md says nothing of .{class}");
        }
        for used in STYLE.match_indices("var(--").map(|(at, _)| &STYLE[at + 4..]) {
            let name = &used[..used.find([')', ',']).unwrap()];
            assert!(STYLE.contains(&format!("{name}: ")), "{name} is no token");
        }
    }
}
