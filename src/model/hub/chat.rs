//! A prompt through the chat template of the model's makers, to tokens.
//!
//! Templates are Jinja. They run without access to anything but the messages, [in a process of their
//! own](crate::isolate) that can fill no memory.

use std::sync::{Mutex, PoisonError};

use serde_json::json;
use tokenizers::Tokenizer;

use super::config::{Family, HubConfig};
use super::files::HubFolder;
use super::processor::TileGrid;
use crate::error::{Error, Result};
use crate::isolate::render_template;
use crate::model::tokenizer::{decode, encode, parse_tokenizer};

/// SmolVLM's markers around a picture's tokens.
const AROUND: &str = "<fake_token_around_image>";
const WHOLE: &str = "<global-img>";
/// The token that a picture's features replace.
const IMAGE: &str = "<image>";

/// Marks of what a model has written, for training on it. Only `transformers` knows them, and they make no text.
const MARKS: [&str; 2] = ["generation", "endgeneration"];

/// A template without its marks.
fn without_marks(template: &str) -> String {
    let mut rest = template;
    let mut kept = String::with_capacity(rest.len());
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start..].find("%}") else { break };
        let (before, statement) = (&rest[..start], &rest[start..start + length + 2]);
        let word = statement[2..length].trim_matches(['-', '+', ' ', '\n']);
        kept.push_str(before);
        // An empty statement of the same kind still trims the spaces beside it.
        match MARKS.contains(&word) {
            true => kept.push_str(&statement.replacen(word, "set _ = 0", 1)),
            false => kept.push_str(statement),
        }
        rest = &rest[start + length + 2..];
    }
    kept.push_str(rest);
    kept
}

/// Turns prompts into tokens.
pub(crate) struct Chat {
    template: String,
    bos: String,
    eos: String,
    /// What a template's image token becomes.
    picture: String,
    image_token: Option<i64>,
    /// Image tokens of one picture; 0 if the features come before the prompt.
    image_tokens: usize,
    tokenizer: Tokenizer,
    dir: String,
    /// What was rendered last: most prompts of a run are the same.
    rendered: Mutex<Option<RenderedPrompt>>,
}

/// The text and the number of pictures of a prompt, and what the template made of them.
type RenderedPrompt = ((String, usize), String);

/// A prompt as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prompt {
    pub(crate) ids: Vec<i64>,
    /// Positions that the features of the pictures take, in order; none if the features come before the prompt.
    pub(crate) features: Vec<usize>,
}

impl Chat {
    /// Reads the tokenizer.
    ///
    /// # Errors
    /// [`Error::Model`] if the tokenizer cannot be read or lacks the image token.
    pub(crate) fn new(folder: &HubFolder) -> Result<Chat> {
        let HubConfig { family, template, tokenizer: config, model, .. } = &folder.config;
        let tokenizer = parse_tokenizer(&folder.listed().read("tokenizer.json")?)
            .map_err(|e| folder.error(format!("tokenizer.json cannot be read: {e}"), "Download the file again."))?;
        let tokens = folder.config.image_tokens();
        let (picture, image_tokens) = match family {
            Family::SmolVlm => (format!("{AROUND}{WHOLE}{}{AROUND}", IMAGE.repeat(tokens)), tokens),
            Family::Llava => (IMAGE.repeat(tokens), tokens),
            Family::Florence => (String::new(), 0),
        };
        let known = tokenizer.token_to_id(IMAGE).map(i64::from);
        if image_tokens > 0 && (known.is_none() || known != model.image_token_id) {
            return Err(folder.error(
                format!("tokenizer.json gives {IMAGE} the id {known:?}, and config.json {:?}", model.image_token_id),
                "Download both files again.",
            ));
        }
        let around = [("bos_token", config.bos()), ("eos_token", config.eos())];
        for (field, token) in around.iter().filter(|_| *family == Family::Florence) {
            if tokenizer.token_to_id(token).is_none() {
                return Err(folder.error(
                    format!("tokenizer_config.json says {field} is {token:?}, which tokenizer.json does not have"),
                    "Download both files again.",
                ));
            }
        }
        Ok(Chat {
            template: without_marks(template),
            bos: config.bos(),
            eos: config.eos(),
            picture,
            image_token: model.image_token_id,
            image_tokens,
            tokenizer,
            dir: folder.dir().display().to_string(),
            rendered: Mutex::default(),
        })
    }

    /// The tokens of a prompt with some pictures before it, whole or split into tiles.
    ///
    /// # Errors
    /// [`Error::Model`] if the template cannot be rendered, or places another number of pictures.
    pub(crate) fn prompt(&self, text: &str, grids: &[Option<TileGrid>]) -> Result<Prompt> {
        let pictures = grids.len();
        let broken = |cause: String| {
            Error::model(self.dir.clone(), format!("its chat template {cause}"), "Download the model's files again.")
        };
        let rendered = self.rendered(text, pictures).map_err(broken)?;
        // Tokenizers of Llama's kind put a token before every text, unless the template has done so.
        let starts = !self.bos.is_empty() && rendered.starts_with(&self.bos);
        let expanded = self.expanded(&rendered, grids);
        let encoding = encode(&self.tokenizer, &expanded, !starts)
            .map_err(|e| Error::usage(format!("the prompt cannot be split into tokens: {e}"), "Use other words."))?;
        let ids: Vec<i64> = encoding.get_ids().iter().map(|&id| i64::from(id)).collect();
        let features: Vec<usize> =
            (0..ids.len()).filter(|&n| self.image_tokens > 0 && Some(ids[n]) == self.image_token).collect();
        let needed = self.image_tokens * grids.iter().map(|&grid| TileGrid::pictures(grid)).sum::<usize>();
        if features.len() != needed {
            let made = features.len();
            return Err(broken(format!("makes {made} image tokens of {pictures} pictures, which need {needed}")));
        }
        Ok(Prompt { ids, features })
    }

    /// Renders a prompt that is likely to come, because starting a process takes a while. Errors come with the prompt.
    pub(crate) fn prepare(&self, text: &str, pictures: usize) {
        let _ = self.rendered(text, pictures);
    }

    /// What the template makes of a text with some pictures before it; else what it did instead.
    fn rendered(&self, text: &str, pictures: usize) -> Result<String, String> {
        // A user's text must not place pictures.
        let text = text.replace(IMAGE, " ");
        let mut last = self.rendered.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = (text, pictures);
        if let Some((before, rendered)) = &*last
            && *before == asked
        {
            return Ok(rendered.clone());
        }
        let mut content = vec![json!({ "type": "image" }); pictures];
        content.push(json!({ "type": "text", "text": asked.0 }));
        let values = json!({
            "messages": [{ "role": "user", "content": content }],
            "add_generation_prompt": true,
            "bos_token": self.bos,
            "eos_token": self.eos,
        });
        let rendered = render_template(&self.template, values)?;
        *last = Some((asked, rendered.clone()));
        Ok(rendered)
    }

    /// A rendered template in which each picture has its tokens.
    fn expanded(&self, rendered: &str, grids: &[Option<TileGrid>]) -> String {
        let mut grids = grids.iter().copied();
        let mut parts = rendered.split(IMAGE);
        let mut text = parts.next().unwrap_or_default().to_string();
        for part in parts {
            text.push_str(&self.tokens_of(grids.next().flatten()));
            text.push_str(part);
        }
        text
    }

    /// The tokens of a picture. Tiles come row by row, each with its place, and the whole picture behind them.
    fn tokens_of(&self, grid: Option<TileGrid>) -> String {
        let Some(TileGrid { rows, columns }) = grid else { return self.picture.clone() };
        let tokens = IMAGE.repeat(self.image_tokens);
        let mut text = String::new();
        for row in 1..=rows {
            for column in 1..=columns {
                text.push_str(&format!("{AROUND}<row_{row}_col_{column}>{tokens}"));
            }
            text.push('\n');
        }
        text + "\n" + &self.picture
    }

    /// The text of generated tokens, without special tokens.
    ///
    /// # Errors
    /// [`Error::Runtime`] if the tokenizer does not know a token.
    pub(crate) fn text(&self, ids: &[i64]) -> Result<String> {
        let ids: Vec<u32> = ids.iter().filter_map(|&id| u32::try_from(id).ok()).collect();
        let text = decode(&self.tokenizer, &ids);
        let text =
            text.map_err(|e| Error::runtime(format!("tokenizer.json cannot decode: {e}"), "Download it again."))?;
        Ok(text.trim().to_string())
    }
}

#[cfg(test)]
mod tests {
    use minijinja::{Environment, context};

    use super::*;

    #[test]
    fn marks_for_training_make_no_text() {
        let template = "a {%- generation -%} {{ b }} {% endgeneration %}{% if b %}c{% endif %}{% gener";
        let kept = without_marks(template);
        assert_eq!(kept, "a {%- set _ = 0 -%} {{ b }} {% set _ = 0 %}{% if b %}c{% endif %}{% gener");
        let whole = kept.strip_suffix("{% gener").unwrap();
        assert_eq!(Environment::new().render_str(whole, context! { b => 1 }).unwrap(), "a1 c");
    }
}
