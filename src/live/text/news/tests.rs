use super::*;
use crate::ocr::TextBox;

const FRAME: i64 = 40;

/// What a stream shows: looked at each 600 ms, and considered each 200 ms.
struct Stream {
    news: TextNews,
    now: i64,
    said: Vec<(i64, String)>,
}

fn at(ms: i64) -> Time {
    Time::from_millis(ms)
}

fn line(text: &str, (x, y): (f32, f32)) -> ScreenText {
    let place = TextBox { x, y, width: 0.02 * text.len() as f32, height: 0.05 };
    ScreenText { text: text.into(), start: at(0), end: at(0), place, confidence: 0.99, kind: TextKind::Title }
}

impl Stream {
    fn new(static_text: StaticText) -> Stream {
        Stream { news: TextNews::new(static_text, at(1_000)), now: 0, said: Vec::new() }
    }

    /// Shows lines for so long. `at`: what is shown at a time.
    fn show(&mut self, ms: i64, shown: impl Fn(i64) -> Vec<ScreenText>) {
        let (from, until) = (self.now, self.now + ms);
        while self.now < until {
            let looked = from + (self.now - from) / 600 * 600 + 300;
            if looked <= self.now {
                let looks = 1 + (self.now - from) / 600;
                let visible = shown(looked).into_iter().map(|line| VisibleLine {
                    line: ScreenText { start: at(from), end: at(self.now), ..line },
                    since: at(from),
                    looked: at(looked),
                    looks: looks as u32,
                    motion: None,
                });
                let visible: Vec<VisibleLine> = visible.collect();
                self.said.extend(self.news.update(at(self.now), &visible, false).map(|s| (self.now, s.text)));
            }
            self.now += 5 * FRAME;
        }
    }

    fn shows(&mut self, ms: i64, lines: &[ScreenText]) {
        self.show(ms, |_| lines.to_vec());
    }

    fn texts(&self) -> Vec<&str> {
        self.said.iter().map(|(_, text)| text.as_str()).collect()
    }
}

#[test]
fn a_title_is_reported_when_two_looks_have_read_it_and_not_again() {
    let title = [line("Half-time", (0.3, 0.4))];
    let mut stream = Stream::new(StaticText::Once);
    stream.shows(10_000, &[]);
    stream.shows(5_000, &title);
    assert_eq!(stream.said, [(11_000, "Text: “Half-time”".to_string())]);
    // Hidden for a moment, and away for five minutes.
    stream.shows(300_000, &[]);
    stream.shows(5_000, &title);
    assert_eq!(stream.said.len(), 1);
    stream.shows(700_000, &[]);
    stream.shows(5_000, &title);
    assert_eq!(stream.said.len(), 2);
}

#[test]
fn a_score_is_reported_when_it_changes() {
    let score = |text: &str| vec![line(text, (0.04, 0.04))];
    let mut stream = Stream::new(StaticText::Once);
    for (text, ms) in [("HOME O AWAY O", 20_000), ("HOME 1 AWAY O", 9_000), ("HOME 1 AWAY 1", 9_000)] {
        stream.shows(ms, &score(text));
    }
    let said = ["Text: “HOME O AWAY O”", "Text: “HOME 1 AWAY O”", "Text: “HOME 1 AWAY 1”"];
    assert_eq!(stream.texts(), said);
    let mut never = Stream::new(StaticText::Never);
    never.shows(20_000, &score("HOME O AWAY O"));
    never.shows(9_000, &score("HOME 1 AWAY O"));
    assert_eq!(never.texts(), ["Text: “HOME 1 AWAY O”"]);
    // The referee changes his mind; an error of one look does not count.
    stream.shows(600, &score("HOME 1 AWAY 7"));
    stream.shows(6_000, &score("HOME 1 AWAY 1"));
    assert_eq!(stream.said.len(), 3);
    stream.shows(6_000, &score("HOME 1 AWAY O"));
    assert_eq!(stream.texts()[3], "Text: “HOME 1 AWAY O”");
}

#[test]
fn clocks_and_counters_do_not_chatter() {
    let clock = |ms: i64| {
        let (seconds, minutes) = (ms / 1_000, ms / 60_000);
        vec![
            line(&format!("10:{:02}:{:02}", minutes % 60, seconds % 60), (0.8, 0.04)),
            line(&format!("HOM 2 - 0 AWY {minutes:02}:{:02}", seconds % 60), (0.04, 0.04)),
            line(&format!("20:{:02}", minutes % 60), (0.8, 0.12)),
            line(&format!("Frame {:05}", ms / 40), (0.04, 0.6)),
        ]
    };
    let mut stream = Stream::new(StaticText::Once);
    stream.show(600_000, clock);
    assert_eq!(stream.said.len(), 1, "{:?}", stream.said);
    let mut never = Stream::new(StaticText::Never);
    never.show(600_000, clock);
    assert_eq!(never.said, []);
    // A goal is news, whatever the clock beside it does.
    never.show(6_000, |ms| vec![line(&format!("HOM 3 - 0 AWY 10:{:02}", ms / 1_000 % 60), (0.04, 0.04))]);
    assert!(never.said.len() == 1 && never.said[0].1.starts_with("Text: “HOM 3 - 0 AWY 10:0"), "{:?}", never.said);
}

#[test]
fn a_logo_is_reported_once_or_never() {
    for (static_text, logos) in [(StaticText::Once, 1), (StaticText::Never, 0)] {
        let mut stream = Stream::new(static_text);
        let logo = line("KANAL 5", (0.8, 0.9));
        for n in 0..20 {
            stream.shows(10_000, std::slice::from_ref(&logo));
            stream.shows(3_000, &[logo.clone(), line(["Sports", "Weather"][n % 2], (0.3, 0.4))]);
            stream.shows(30_000, &[]);
        }
        assert_eq!(stream.texts().iter().filter(|text| text.contains("KANAL")).count(), logos);
        assert_eq!(stream.said.len(), logos + 2, "{:?}", stream.said);
    }
}

#[test]
fn subtitles_are_not_reported_and_a_title_in_their_place_is_later() {
    let below = |text: &str| vec![line(text, (0.5 - 0.01 * text.len() as f32, 0.85))];
    let mut stream = Stream::new(StaticText::Once);
    for text in ["Good evening.", "I lost my key.", "Where were you?", "At the harbour, all night."] {
        stream.shows(4_000, &below(text));
        stream.shows(400, &[]);
    }
    stream.shows(9_000, &below("A long sentence."));
    assert_eq!(stream.said, []);
    let mut other = Stream::new(StaticText::Once);
    other.shows(9_000, &below("Paris, 1942"));
    assert_eq!(other.said, [(6_400, "Text: “Paris, 1942”".to_string())]);
}

#[test]
fn credits_roll_once_and_lines_that_move_up_are_no_signs() {
    let mut news = TextNews::new(StaticText::Once, Time::ZERO);
    let mut said = Vec::new();
    for n in 0..40 {
        let rolling = |k: i64| {
            let kind = if n > 3 { TextKind::Rolling } else { TextKind::Scene };
            let place = line(["Anna Berg", "Carl Sand", "Dora Ek", "Emil Holm"][k as usize], (0.3, 0.2 * k as f32));
            let (looked, looks) = (at(600 * n), 1 + n as u32);
            VisibleLine { line: ScreenText { kind, ..place }, since: at(0), looked, looks, motion: Some((0.0, -0.1)) }
        };
        let visible: Vec<VisibleLine> = (0..4).map(rolling).collect();
        said.extend(news.update(at(600 * n), &visible, false).map(|s| (n, s.text, s.lines.len())));
    }
    assert_eq!(said, [(4, "Credits roll".to_string(), 4)]);
}

#[test]
fn what_is_remembered_is_bounded_and_statements_keep_their_distance() {
    let mut stream = Stream::new(StaticText::Once);
    for n in 0..2_000 {
        let word: String = format!("{n:04}").bytes().map(|c| (c - b'0' + b'a') as char).collect();
        stream.shows(1_600, &[line(&word.repeat(3), ((n % 7) as f32 / 10.0, (n % 5) as f32 / 10.0 + 0.2))]);
    }
    assert!(stream.news.known.len() <= MOST_KNOWN && stream.said.len() > 1_000, "{}", stream.said.len());
    assert!(stream.said.is_sorted_by(|a, b| b.0 - a.0 >= 1_000));
}
