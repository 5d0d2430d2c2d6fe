//! The model's part of a search: embeddings of queries, and whether they can be compared with the archive's.

use super::args::{SearchArgs, SearchBy};
use crate::archive::search::{QueryEmbedding, QueryEncoder, Searcher, image_embedding};
use crate::cli::reporter::{Reporter, count};
use crate::error::{Error, Result};
use crate::model::{ModelFolder, SessionOptions};

/// What embeds queries.
pub(super) enum QueryModel {
    /// Nothing: only words are compared.
    None,
    Texts(Box<(ModelFolder, QueryEncoder)>),
    /// The query is this picture.
    Picture {
        title: String,
        like: QueryEmbedding,
    },
}

impl QueryModel {
    pub(super) fn load(args: &SearchArgs, by: SearchBy) -> Result<QueryModel> {
        if !by.compares_pictures() {
            return Ok(QueryModel::None);
        }
        let folder = args.model.load()?;
        let session = args.model.session(false)?;
        match &args.image {
            Some(image) => Ok(QueryModel::Picture {
                title: folder.manifest().title(),
                like: image_embedding(&folder, image, args.picture.bars(), &args.stills.options(), &session)?,
            }),
            None if folder.embedder()?.text.is_none() => Err(folder.error(
                "it has no text tower, so it cannot embed a query",
                "Give --by words, or another model with --model.",
            )),
            None => {
                let session = SessionOptions { few_texts: args.queries.is_none(), ..session };
                let encoder = QueryEncoder::new(&folder, &session)?;
                Ok(QueryModel::Texts(Box::new((folder, encoder))))
            }
        }
    }

    /// The embeddings of queries; `None` if only words are compared.
    pub(super) fn embed(&mut self, queries: &[&str]) -> Result<Vec<Option<QueryEmbedding>>> {
        match self {
            QueryModel::None => Ok(vec![None; queries.len()]),
            QueryModel::Picture { like, .. } => Ok(vec![Some(like.clone()); queries.len()]),
            QueryModel::Texts(model) => Ok(model.1.encode_all(queries)?.into_iter().map(Some).collect()),
        }
    }

    /// Title and hash of the model.
    fn identity(&self) -> Option<(String, &str)> {
        match self {
            QueryModel::None => None,
            QueryModel::Picture { title, like } => Some((title.clone(), &like.model_hash)),
            QueryModel::Texts(model) => Some((model.0.manifest().title(), model.0.hash())),
        }
    }

    /// Checks that the archive has keyframes of this model: embeddings of different models cannot be compared.
    pub(super) fn check(&self, search: &Searcher, by: SearchBy, reporter: &Reporter) -> Result<()> {
        let Some((title, hash)) = self.identity() else { return Ok(()) };
        let (same, others): (Vec<_>, Vec<_>) =
            search.models().iter().filter(|m| m.keyframes > 0).partition(|m| m.hash == hash);
        if others.is_empty() {
            return Ok(());
        }
        let short = |hash: &str| hash.get(..8).unwrap_or(hash).to_string();
        let mut names: Vec<String> = others.iter().map(|m| format!("{} ({}…)", m.name, short(&m.hash))).collect();
        names.sort();
        let names = names.join(", ");
        let own = format!("{title} ({}…)", short(hash));
        if same.is_empty() {
            return Err(Error::usage(
                format!("the archive was made with {names}, whose embeddings cannot be compared with those of {own}"),
                "Name the archive's model with --model, or give --by words.",
            ));
        }
        let keyframes: usize = others.iter().map(|m| m.keyframes).sum();
        let effect = if by != SearchBy::Meaning { "only their words are searched" } else { "they are left out" };
        let keyframes = count(keyframes, "keyframe");
        reporter.warn(&format!("{keyframes} embedded by {names} instead of {own}: {effect}"));
        Ok(())
    }
}
