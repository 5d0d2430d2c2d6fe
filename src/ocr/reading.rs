//! What a line says, from several readings of it.

use strsim::normalized_levenshtein;

/// Most readings of a line that are kept. The best stay.
const MOST_READINGS: usize = 8;
/// Readings that are at least so much alike say the same, but for errors.
const ALIKE: f64 = 0.75;
/// Most characters of a line that scrolls.
const LONGEST: usize = 4_000;
/// Least characters that two readings of a line that scrolls have in common.
const LEAST_COMMON: usize = 5;

/// A line as it was read once.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LineReading {
    pub(super) text: String,
    /// Mean probability of its characters, 0 to 1.
    pub(super) score: f32,
}

/// How much alike two texts are, 0 to 1, whatever their case and their spaces.
pub(super) fn likeness(a: &str, b: &str) -> f64 {
    let plain =
        |text: &str| text.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect::<String>();
    normalized_levenshtein(&plain(a), &plain(b))
}

/// Whether two texts are the same, whatever their case and their spaces.
pub(super) fn says_the_same(a: &str, b: &str) -> bool {
    let plain =
        |text: &str| text.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect::<String>();
    plain(a) == plain(b)
}

/// Whether texts differ in their digits only, and have some: those of a clock or a counter.
pub(super) fn differ_in_digits(a: &str, b: &str) -> bool {
    let (a, b) = (with_zeros(a), with_zeros(b));
    // A counter may get longer: 9 and 10.
    let shape = |text: &str| {
        let mut shape = String::new();
        for c in text.chars().filter(|c| !c.is_whitespace()) {
            let c = if c.is_ascii_digit() { '0' } else { c };
            if c != '0' || !shape.ends_with('0') {
                shape.push(c);
            }
        }
        shape
    };
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    digits(&a) != digits(&b) && shape(&a) == shape(&b)
}

/// A text in which every O that stands alone is a zero: in many fonts they look the same.
pub(crate) fn with_zeros(text: &str) -> String {
    let is_letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let (mut out, mut before) = (String::with_capacity(text.len()), None);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let alone = c == 'O' && !is_letter(before) && !is_letter(chars.peek().copied());
        out.push(if alone { '0' } else { c });
        before = Some(c);
    }
    out
}

/// Whether a text is a part of a longer one: its beginning, its end or its middle. A letter at its edge may be wrong, because
/// half of it could not be seen.
pub(super) fn is_part(part: &str, whole: &str) -> bool {
    let plain =
        |text: &str| text.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect::<Vec<_>>();
    let (part, whole) = (plain(part), plain(whole));
    if part.len() >= whole.len() || part.len() < 2 {
        return false;
    }
    let within = |part: &[char]| whole.windows(part.len()).any(|window| window == part);
    within(&part) || part.len() > 3 && (within(&part[1..]) || within(&part[..part.len() - 1]))
}

/// Wide forms of Latin letters, digits and marks as the usual ones, where a text has no other East Asian characters.
pub(super) fn narrow(text: &str) -> String {
    let east_asian =
        |c: char| matches!(c, '\u{1100}'..='\u{11ff}' | '\u{2e80}'..='\u{fefe}' | '\u{20000}'..='\u{3ffff}');
    if text.chars().any(east_asian) {
        return text.to_string();
    }
    let usual = |c: char| match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        _ => c,
    };
    text.chars().map(usual).collect()
}

/// The readings of one line.
#[derive(Debug, Clone, Default)]
pub(super) struct Readings {
    kept: Vec<LineReading>,
}

impl Readings {
    pub(super) fn push(&mut self, reading: LineReading) {
        self.kept.push(reading);
        if self.kept.len() > MOST_READINGS {
            let least = (0..self.kept.len()).min_by(|a, b| self.kept[*a].score.total_cmp(&self.kept[*b].score));
            least.map(|n| self.kept.remove(n));
        }
    }

    /// The mean score of all readings, 0 to 1.
    pub(super) fn score(&self) -> f32 {
        self.kept.iter().map(|reading| reading.score).sum::<f32>() / self.kept.len().max(1) as f32
    }

    /// The reading that the others resemble most, of those the one with the best score; and how much they do, 0 to 1, which
    /// is 1 if there is only one. None without a reading.
    pub(super) fn best(&self) -> Option<(&LineReading, f32)> {
        let support = |reading: &LineReading| {
            let votes = self.kept.iter().map(|other| likeness(&reading.text, &other.text) * f64::from(other.score));
            votes.sum::<f64>() + f64::from(reading.score) * 0.5
        };
        let best = self.kept.iter().max_by(|a, b| support(a).total_cmp(&support(b)))?;
        let others = self.kept.iter().filter(|other| !std::ptr::eq(*other, best));
        let likenesses: Vec<f64> = others.map(|other| likeness(&best.text, &other.text)).collect();
        // Of two readings one may be spoilt by a fade; of many, half.
        let agreement = if likenesses.is_empty() {
            1.0
        } else {
            let mut sorted = likenesses;
            sorted.sort_by(|a, b| b.total_cmp(a));
            sorted[sorted.len().div_ceil(2) - 1]
        };
        Some((best, agreement as f32))
    }

    /// What the best reading says.
    pub(super) fn text(&self) -> Option<&str> {
        self.best().map(|(best, _)| best.text.as_str())
    }

    /// Whether a text may be another reading of the same line.
    pub(super) fn resemble(&self, text: &str) -> bool {
        self.kept.iter().any(|reading| likeness(&reading.text, text) >= ALIKE)
    }

    /// How much a text resembles the reading that it resembles most, 0 to 1.
    pub(super) fn likeness(&self, text: &str) -> f64 {
        self.kept.iter().map(|reading| likeness(&reading.text, text)).fold(0.0, f64::max)
    }
}

/// Two readings of a line that scrolls, put together.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Joined {
    pub(super) text: String,
    /// Where the middle of what they have in common is in each, from 0 at its beginning to 1 at its end.
    pub(super) places: (f32, f32),
}

/// Two readings of a line that scrolls, put together: `earlier` up to where it has most in common with `later`, and `later`
/// from there. None if they have too little in common.
pub(super) fn joined(earlier: &str, later: &str) -> Option<Joined> {
    let (a, b): (Vec<char>, Vec<char>) = (earlier.chars().collect(), later.chars().collect());
    // What has scrolled away long ago has nothing in common with what comes.
    let skip = a.len().saturating_sub(300);
    let (mut longest, mut ends) = (0, (0, 0));
    let mut row = vec![0usize; b.len() + 1];
    for (i, letter) in a.iter().enumerate().skip(skip) {
        let mut diagonal = 0;
        for j in 0..b.len() {
            let before = row[j + 1];
            row[j + 1] = if *letter == b[j] { diagonal + 1 } else { 0 };
            if row[j + 1] > longest {
                (longest, ends) = (row[j + 1], (i + 1, j + 1));
            }
            diagonal = before;
        }
    }
    let enough = LEAST_COMMON.max(a.len().min(b.len()) * 4 / 10);
    let place = |end: usize, length: usize| (end as f32 - longest as f32 / 2.0) / length as f32;
    (longest >= enough).then(|| Joined {
        text: a[..ends.0].iter().chain(&b[ends.1..]).take(LONGEST).collect(),
        places: (place(ends.0, a.len()), place(ends.1, b.len())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(all: &[(&str, f32)]) -> Readings {
        let mut readings = Readings::default();
        all.iter().for_each(|(text, score)| readings.push(LineReading { text: (*text).into(), score: *score }));
        readings
    }

    #[test]
    fn most_readings_win_and_then_the_best_score() {
        let best = |all: &[(&str, f32)]| readings(all).best().map(|(best, agreement)| (best.text.clone(), agreement));
        assert_eq!(best(&[]), None);
        assert_eq!(best(&[("Rue Haute", 0.9)]), Some(("Rue Haute".into(), 1.0)));
        assert_eq!(best(&[("Rue Hau", 0.99), ("Rue Haute", 0.9), ("Rue Haute", 0.8)]).unwrap().0, "Rue Haute");
        let (text, agreement) = best(&[("BUONKY", 0.8), ("RONKN", 0.82)]).unwrap();
        assert!(text == "RONKN" && agreement < 0.6, "{text} {agreement}");
        let many: Vec<(String, f32)> = (0..40).map(|n| ("x".repeat(n), n as f32 / 40.0)).collect();
        let mut all = Readings::default();
        many.into_iter().for_each(|(text, score)| all.push(LineReading { text, score }));
        assert_eq!(all.kept.len(), MOST_READINGS);
    }

    #[test]
    fn counters_differ_in_their_digits() {
        assert!(differ_in_digits("12:59:08", "13:00:12") && differ_in_digits("Score 9", "Score 10"));
        assert!(differ_in_digits("HOME O AWAY O", "HOME 1 AWAY O") && !differ_in_digits("HOME O", "HOME 0"));
        assert_eq!(with_zeros("O 1O Oslo O-O"), "0 1O Oslo 0-0");
        assert!(
            !differ_in_digits("Goal", "Gaol") && !differ_in_digits("12:00", "12: 00") && !differ_in_digits("a1", "b1")
        );
    }

    #[test]
    fn parts_may_have_a_wrong_letter_at_an_edge() {
        assert!(is_part("rcía", "Carlos García") && is_part("GARA", "Garage") && is_part("FRESH FIJ", "Fresh Fish"));
        assert!(!is_part("Carlos", "Carlos") && !is_part("x", "xylophone") && !is_part("Garden", "Carlos García"));
        assert_eq!((narrow("Kraków， １９"), narrow("東京，")), ("Kraków, 19".into(), "東京，".into()));
    }

    #[test]
    fn what_scrolls_is_put_together() {
        let join = |a: &str, b: &str| joined(a, b).map(|joined| joined.text);
        let whole = join("breaking news: the ri", "news: the river has rise").unwrap();
        assert_eq!(whole, "breaking news: the river has rise");
        let middle = joined("abcdefgh", "defghijk").unwrap().places;
        assert_eq!(middle, (5.5 / 8.0, 2.5 / 8.0));
        // The last letter was cut in half.
        assert_eq!(join("the rivel", "the river rises").unwrap(), "the river rises");
        assert_eq!(join("breaking news", "weather tomorrow"), None);
        assert_eq!(join("", "x"), None);
        let long = "0123456789".repeat(1_000);
        assert!(join(&long, "23456789 end").unwrap().len() <= LONGEST);
    }
}
