//! Names of languages: containers want three letters, voices two.

use std::str::FromStr;

use crate::media::language::codes;

/// A language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Language {
    /// ISO 639-2 code, for containers.
    pub tag: String,
    /// ISO 639-1 code where there is one, for voices.
    pub voice: String,
}

impl Default for Language {
    fn default() -> Language {
        Language { tag: "eng".into(), voice: "en".into() }
    }
}

impl Language {
    /// What a model is asked to answer in; none for English, in which it answers anyway.
    pub fn for_prompt(&self) -> Option<String> {
        (*self != Language::default()).then(|| format!("the language whose ISO 639 code is {}", self.voice))
    }
}

impl FromStr for Language {
    type Err = String;

    fn from_str(text: &str) -> Result<Language, String> {
        let text = text.to_ascii_lowercase();
        match codes(&text) {
            Some((two, three)) => Ok(Language { tag: three.into(), voice: two.into() }),
            None if text.len() == 3 && text.bytes().all(|b| b.is_ascii_lowercase()) => {
                Ok(Language { tag: text.clone(), voice: text })
            }
            None => Err("give an ISO 639 code, such as en or deu".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_have_both_names() {
        let german = Language { tag: "deu".into(), voice: "de".into() };
        assert_eq!(("de".parse(), "DEU".parse()), (Ok(german.clone()), Ok(german.clone())));
        assert_eq!(("ger".parse(), "la".parse::<Language>().map(|l| l.tag)), (Ok(german), Ok("lat".into())));
        assert_eq!("yue".parse::<Language>().unwrap().tag, "yue");
        assert_eq!("en".parse(), Ok(Language::default()));
        for bad in ["", "english", "e", "xx", "12a"] {
            assert!(bad.parse::<Language>().is_err(), "{bad}");
        }
    }
}
