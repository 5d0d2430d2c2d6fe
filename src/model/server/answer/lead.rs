//! What comes before a description: greetings, announcements, phrases such as "The image shows"; and refusals.

/// What a description is called.
const NAMES: [&str; 13] = [
    "caption",
    "description",
    "sentence",
    "summary",
    "answer",
    "response",
    "output",
    "result",
    "captions",
    "descriptions",
    "assistant",
    "scene",
    "alt text",
];
/// What an announcement promises.
const ANNOUNCED: [&str; 8] =
    ["caption", "description", "sentence", "summary", "answer", "response", "captions", "descriptions"];
/// What a picture is called.
const PICTURES: [&str; 14] = [
    "image",
    "picture",
    "photo",
    "photograph",
    "frame",
    "scene",
    "video",
    "still",
    "shot",
    "video frame",
    "video still",
    "still image",
    "film still",
    "video clip",
];
/// What a picture does.
const SHOWS: [&str; 21] = [
    "shows",
    "depicts",
    "features",
    "captures",
    "displays",
    "portrays",
    "presents",
    "contains",
    "illustrates",
    "represents",
    "showcases",
    "is showing",
    "is depicting",
    "appears to show",
    "seems to show",
    "appears to depict",
    "shows us",
    "is of",
    "includes",
    "shown is",
    "reveals",
];
/// What people see.
const SEEN: [&str; 16] = [
    "there is",
    "there are",
    "there's",
    "we can see",
    "you can see",
    "one can see",
    "i can see",
    "we see",
    "you see",
    "i see",
    "you'll see",
    "we have",
    "it shows",
    "it depicts",
    "can be seen",
    "is shown",
];
/// How agreement begins.
const GREETINGS: [&str; 14] = [
    "sure thing",
    "sure",
    "certainly",
    "of course",
    "absolutely",
    "okay",
    "ok",
    "yes",
    "great",
    "alright",
    "no problem",
    "understood",
    "got it",
    "gladly",
];
/// How a refusal begins.
const REFUSALS: [&str; 30] = [
    "i'm sorry",
    "i am sorry",
    "sorry,",
    "sorry.",
    "sorry!",
    "sorry but",
    "i apologize",
    "i apologise",
    "my apologies",
    "i can't",
    "i cannot",
    "i can not",
    "i could not",
    "i couldn't",
    "i'm unable",
    "i am unable",
    "i'm not able",
    "i am not able",
    "unfortunately, i",
    "unfortunately i",
    "as an ai",
    "as a language model",
    "i don't see any image",
    "i do not see any image",
    "i don't have the ability",
    "i do not have the ability",
    "i won't",
    "i will not",
    "i must decline",
    "there is no image",
];

/// Whether a text refuses to describe.
pub(super) fn is_refusal(text: &str) -> bool {
    let lower = text.to_lowercase();
    REFUSALS.iter().any(|refusal| word_prefix(&lower, refusal).is_some())
}

/// The text without one phrase at its beginning; as it is if there is none, and empty if it is nothing but a phrase.
pub(super) fn without_lead(text: &str) -> String {
    let text = text.trim();
    // The phrases are ASCII, so places in the lower-case text are places in the text.
    let lower = text.to_ascii_lowercase();
    let place = greeting(&lower).or_else(|| announcement(&lower)).or_else(|| label(&lower)).or_else(|| phrase(&lower));
    place.map_or(text, |at| text[at..].trim_start()).to_string()
}

/// What follows `prefix`, if that ends with a word.
fn word_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = text.strip_prefix(prefix)?;
    let joined =
        rest.starts_with(|c: char| c.is_alphanumeric() || c == '\'') && prefix.ends_with(char::is_alphanumeric);
    (!joined).then_some(rest)
}

/// What follows the longest of these words.
fn any_of<'a>(text: &'a str, words: &[&str]) -> Option<&'a str> {
    words.iter().filter_map(|word| word_prefix(text, word)).min_by_key(|rest| rest.len())
}

/// "Sure! …": a greeting and its mark.
fn greeting(lower: &str) -> Option<usize> {
    let rest = any_of(lower, &GREETINGS)?;
    if rest.is_empty() {
        return Some(lower.len());
    }
    let after = rest.strip_prefix(['!', ',', '.', ':'])?;
    Some(lower.len() - after.len())
}

/// "Here is a description of the picture: …".
fn announcement(lower: &str) -> Option<usize> {
    let rest = any_of(lower, &["here is", "here's", "here are", "below is", "this is", "the following is"])?;
    let end = rest.find([':', '.']).unwrap_or(rest.len());
    // "This is the description of a battle." describes a page of a book.
    let announces = rest[end..].starts_with(':') || !lower.starts_with("this is");
    let names_one = rest[..end].split(|c: char| !c.is_alphanumeric()).any(|word| ANNOUNCED.contains(&word));
    (announces && names_one).then_some(lower.len() - rest.len() + (end + 1).min(rest.len()))
}

/// "Caption: …" and "Short description: …".
fn label(lower: &str) -> Option<usize> {
    let (label, _) = lower.split_once(':')?;
    let words: Vec<&str> = label.split_whitespace().collect();
    let last = *words.last()?;
    let is_name = words.len() <= 5 && (NAMES.contains(&last) || label.ends_with("alt text"));
    // "People pose for a picture: …" describes.
    let is_picture = words.len() <= 2 && PICTURES.contains(&last);
    (is_name || is_picture).then_some(label.len() + 1)
}

/// "The image shows …", "In this picture, there is …", "This is a photo of …", "I can see …".
fn phrase(lower: &str) -> Option<usize> {
    let at = |rest: &str| Some(lower.len() - rest.trim_start_matches([' ', ',', ':']).len());
    if let Some(rest) = any_of(lower, &["the ", "this ", "that ", "in the ", "in this ", "in the given ", "the given "])
        && let Some(rest) = any_of(rest.trim_start(), &PICTURES)
    {
        let comma = rest.strip_prefix(',');
        let rest = comma.unwrap_or(rest).trim_start();
        if lower.starts_with("in ") {
            return match any_of(rest, &SEEN) {
                Some(rest) => at(that(rest)),
                None => comma.and_then(|_| at(rest)),
            };
        }
        if let Some(rest) = any_of(rest, &SHOWS) {
            return at(that(rest));
        }
        return word_prefix(rest, "is").and_then(of_picture).and_then(at);
    }
    if let Some(rest) = any_of(lower, &["this is", "it is", "it's", "that is"]) {
        return of_picture(rest).and_then(at);
    }
    let seen = any_of(
        lower,
        &["i can see", "i see", "we can see", "we see", "you can see", "one can see", "it shows", "it depicts"],
    );
    seen.and_then(|rest| at(that(rest)))
}

/// What follows "a picture of" or "an image showing".
fn of_picture(rest: &str) -> Option<&str> {
    let rest = any_of(rest.trim_start(), &["a", "an", "the"])?;
    let rest = any_of(rest.trim_start(), &PICTURES)?;
    any_of(rest.trim_start(), &["of", "showing", "that shows", "depicting", "featuring", "capturing", "from"])
}

/// What follows "that", if it is there.
fn that(rest: &str) -> &str {
    word_prefix(rest.trim_start(), "that").unwrap_or(rest)
}
