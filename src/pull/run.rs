//! A whole model: what it needs, what of it is here, the rest from the hub, and its name when all is there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::cache::HubCache;
use super::choice::{ImportPart, choose_graphs, choose_listed, choose_parts, choose_small, combine};
use super::client::HubClient;
use super::download::{Fetch, PART, PullObserver};
use super::environment::HubEnvironment;
use super::listing::{HubCommit, StatedFile};
use super::registry::{PullSource, source_of};
use super::space::check_space;
use super::target::PullTarget;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::message;
use crate::message::Setting;
use crate::model::MANIFEST;
use crate::model::folder::stated_manifest;
use crate::model::hub::graphs_of;
use crate::model::pulled::{RECORD, store_folder};
use crate::model::{FileSpec, FoundModel, ModelReference, Precision, PullRecord};
use crate::open_folder::OpenFolder;

/// What is to be pulled, and how.
pub struct PullJob<'a> {
    /// The model.
    pub reference: &'a ModelReference,
    /// The variant of its graphs. None: that of the registry, or fp32 or the first that is there.
    pub precision: Option<Precision>,
    /// Where it comes from.
    pub environment: &'a HubEnvironment,
    /// Follows it.
    pub observer: &'a dyn PullObserver,
    /// Stops it. What has come is kept.
    pub interrupt: &'a Interrupt,
}

/// A model that is here.
#[derive(Debug, Clone)]
pub struct PulledNow {
    /// Its folder.
    pub dir: PathBuf,
    /// What it is.
    pub record: PullRecord,
    /// Whether all of it was here before, unchanged.
    pub was_complete: bool,
}

/// Brings a model here, or what is missing or damaged of it.
///
/// # Errors
/// [`Error::Usage`] for a name that descry does not know, [`Error::Model`] for a model that it cannot run, [`Error::Input`] if
/// the hub does not give it, [`Error::Output`] if it cannot be written, and [`Error::Interrupted`].
pub fn pull(job: &PullJob<'_>) -> Result<PulledNow> {
    pulled(job, None)
}

/// Brings files for an import here, or what is missing or damaged of them. They have a folder of their own, whose files are
/// those of the hub, and the precision of the job does not count.
///
/// # Errors
/// As for [`pull`]; [`Error::Model`] if the repository lacks them.
pub fn pull_part(job: &PullJob<'_>, part: ImportPart) -> Result<PulledNow> {
    pulled(job, Some(part))
}

fn pulled(job: &PullJob<'_>, part: Option<ImportPart>) -> Result<PulledNow> {
    let source = source_of(job.reference)?;
    let name = if part.is_some() { job.reference.import_folder() } else { job.reference.folder() };
    let target = PullTarget::lock(&store_folder()?, name, || job.observer.waiting(), job.interrupt)?;
    target.check_own()?;
    let existing = PullRecord::read(&target.dir())?;
    let mut pulling =
        Pulling { job, part, source, target, existing, sound: BTreeMap::new(), files: BTreeMap::new(), total: 0 };
    pulling.find_sound()?;
    if let Some(record) = pulling.complete() {
        // What a run that was killed in its last moments left behind.
        pulling.target.remove_partial()?;
        return Ok(PulledNow { dir: pulling.target.dir(), record: record.clone(), was_complete: true });
    }
    pulling.collect()
}

struct Pulling<'a> {
    job: &'a PullJob<'a>,
    /// What is needed of files for an import; none for a whole model.
    part: Option<ImportPart>,
    source: PullSource,
    target: PullTarget,
    /// What is here of the model already.
    existing: Option<PullRecord>,
    /// The files of that which are as they were.
    sound: BTreeMap<String, FileSpec>,
    /// What is in the partial folder by now.
    files: BTreeMap<String, FileSpec>,
    /// Bytes of the files that were planned so far.
    total: u64,
}

/// Where files come from.
struct FileOrigin {
    /// None: from the hub's cache alone.
    client: Option<HubClient>,
    cache: Option<HubCache>,
    commit: HubCommit,
}

impl Pulling<'_> {
    fn about(&self) -> String {
        self.job.reference.to_string()
    }

    fn find_sound(&mut self) -> Result<()> {
        for (name, spec) in self.existing.iter().flat_map(|record| &record.files) {
            if let Some(found) = StatedFile::from(spec).find(&self.target.dir().join(name), self.job.interrupt) {
                self.sound.insert(name.clone(), found);
            }
            if self.job.interrupt.is_set() {
                return Err(Error::Interrupted);
            }
        }
        Ok(())
    }

    /// The record, if nothing is missing.
    fn complete(&self) -> Option<&PullRecord> {
        let record = self.existing.as_ref()?;
        let has = |precision| record.variants().contains(&precision);
        let is_enough = match self.part {
            Some(part) => part.is_in(&record.files),
            None => self.job.precision.is_none_or(has),
        };
        (self.sound.len() == record.files.len() && is_enough).then_some(record)
    }

    fn collect(mut self) -> Result<PulledNow> {
        let origin = self.origin()?;
        let into = self.target.make_partial()?;
        if let Some(part) = self.part {
            let mut names = choose_parts(&self.about(), &origin.commit, part)?;
            let recorded = self.existing.iter().flat_map(|record| record.files.keys());
            names.extend(recorded.filter(|name| !names.contains(name)).cloned().collect::<Vec<_>>());
            names.retain(|name| !self.sound.contains_key(name));
            self.fetch_all(&origin, &names, &into)?;
            return self.finish(&origin, Vec::new());
        }
        if origin.commit.files.contains_key(MANIFEST) {
            return self.collect_folder(&origin, &into);
        }
        let small = choose_small(&self.about(), &origin.commit)?;
        self.fetch_all(&origin, &small, &into)?;
        // Says what is wrong with a model that descry cannot run before its graphs come.
        let graphs = graphs_of(&self.target.partial()).map_err(|e| e.at(&self.about()))?;
        let mut wanted: Vec<Option<Precision>> =
            self.existing.iter().flat_map(PullRecord::variants).map(Some).collect();
        match self.job.precision {
            Some(precision) if !wanted.contains(&Some(precision)) => wanted.push(Some(precision)),
            None if wanted.is_empty() => wanted.push(self.source.precision),
            _ => {}
        }
        let (mut precisions, mut names) = (Vec::new(), Vec::new());
        for wanted in wanted {
            let (precision, graphs) = choose_graphs(&self.about(), &origin.commit, graphs, wanted)?;
            precisions.push(precision.name().to_string());
            names.extend(graphs);
        }
        names.retain(|name| !self.sound.contains_key(name));
        self.fetch_all(&origin, &names, &into)?;
        self.finish(&origin, precisions)
    }

    /// Brings a model folder here: its manifest, and the files that this lists. Opening the folder compares them.
    fn collect_folder(mut self, origin: &FileOrigin, into: &OpenFolder) -> Result<PulledNow> {
        if self.job.precision.is_some() {
            let cause = message![Setting::Precision, format!(": {} has no variants", self.job.reference)];
            return Err(Error::usage(cause, "Leave it out."));
        }
        self.fetch_all(origin, &[MANIFEST.to_string()], into)?;
        let manifest = stated_manifest(&self.target.partial()).map_err(|e| e.at(&self.about()))?;
        let mut names = choose_listed(&self.about(), &origin.commit, &manifest)?;
        names.retain(|name| !self.sound.contains_key(name));
        self.fetch_all(origin, &names, into)?;
        self.finish(origin, Vec::new())
    }

    /// The commit that is to be here, and who has it. A model that is here already stays at its commit.
    fn origin(&self) -> Result<FileOrigin> {
        let environment = self.job.environment;
        let revision = self.existing.as_ref().map_or(&self.source.revision, |record| &record.commit);
        let cache = environment.cache.as_ref().map(|cache| HubCache::of(cache, &self.source.repository));
        if !environment.offline {
            let client = HubClient::new(environment);
            let commit = client.listing(&self.about(), (&self.source.repository, revision), self.job.interrupt)?;
            return Ok(FileOrigin { client: Some(client), cache, commit });
        }
        let commit = cache.as_ref().and_then(|cache| cache.listing(revision));
        let commit = commit.ok_or_else(|| self.offline(&format!("revision {revision}")))?;
        Ok(FileOrigin { client: None, cache, commit })
    }

    fn offline(&self, what: &str) -> Error {
        let cause =
            format!("{what} of {} is not in the hub's cache, and HF_HUB_OFFLINE is set", self.source.repository);
        Error::input(self.about(), cause, "Unset HF_HUB_OFFLINE, and run descry again with a network.")
    }

    /// Brings files into the partial folder.
    fn fetch_all(&mut self, origin: &FileOrigin, names: &[String], into: &OpenFolder) -> Result<()> {
        let (mut stated, mut missing) = (Vec::new(), 0u64);
        for name in names {
            let file = self.stated(&origin.commit, name)?;
            let bytes = file.bytes.unwrap_or(0);
            self.total = self.total.saturating_add(bytes);
            missing = missing.saturating_add(bytes.saturating_sub(self.bytes_here(name)));
            stated.push((name, file));
        }
        self.job.observer.total(self.total);
        check_space(&self.target.partial(), missing)?;
        for (name, file) in stated {
            self.job.observer.file(name);
            let spec = self.fetch(origin, name, &file, into)?;
            self.files.insert(name.clone(), spec);
        }
        Ok(())
    }

    /// What a file must be: as the hub states it, as the registry does, and as it was when it was pulled before.
    fn stated(&self, commit: &HubCommit, name: &str) -> Result<StatedFile> {
        let about = self.about();
        let missing = || self.offline(name);
        let stated = commit.files.get(name).ok_or_else(missing)?;
        let known = self.source.hashes.get(name);
        let known = known.map(|hash| StatedFile { sha256: Some(hash.to_ascii_lowercase()), ..StatedFile::default() });
        let stated = combine(&about, name, stated, known.as_ref())?;
        let before = self.existing.as_ref().and_then(|record| record.files.get(name)).map(StatedFile::from);
        combine(&about, name, &stated, before.as_ref())
    }

    fn bytes_here(&self, name: &str) -> u64 {
        let partial = self.target.partial();
        let length = |path: PathBuf| path.metadata().map_or(0, |found| found.len());
        length(partial.join(name)).max(length(partial.join(format!("{name}{PART}"))))
    }

    fn fetch(&self, origin: &FileOrigin, name: &str, stated: &StatedFile, into: &OpenFolder) -> Result<FileSpec> {
        let (observer, interrupt) = (self.job.observer, self.job.interrupt);
        let (about, dir) = (format!("{}: {name}", self.about()), &self.target.partial());
        let fetch = Fetch { about, name, stated, into, dir, observer, interrupt };
        if stated.has_hash()
            && let Some(spec) = stated.find(&self.target.partial().join(name), interrupt)
        {
            observer.reused(spec.bytes);
            return Ok(spec);
        }
        let own = self.sound.contains_key(name).then(|| self.target.dir().join(name));
        let cached = origin.cache.as_ref().and_then(|cache| cache.file(&origin.commit.commit, name));
        for path in own.into_iter().chain(cached) {
            if let Some(spec) = fetch.copy(&path)? {
                return Ok(spec);
            }
        }
        match &origin.client {
            Some(client) => fetch.download(client, (&self.source.repository, &origin.commit.commit)),
            None => Err(self.offline(name)),
        }
    }

    /// Records the model, and gives it its name.
    fn finish(self, origin: &FileOrigin, precisions: Vec<String>) -> Result<PulledNow> {
        let source = &self.source;
        let new = || PullRecord::new(self.about(), source.repository.clone(), source.revision.clone());
        let mut record = self.existing.clone().unwrap_or_else(new);
        record.commit = origin.commit.commit.clone();
        record.precisions = precisions;
        record.files.extend(self.files.clone());
        if self.existing.is_none() {
            record.server =
                if origin.client.is_some() { self.job.environment.shown() } else { "the hub's cache".into() };
            record.licence = source.licence.clone().unwrap_or_else(|| origin.commit.licence.clone());
            record.prompt = source.prompt.clone();
            record.pulled = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        }
        let (dir, partial) = (self.target.dir(), self.target.partial());
        if self.existing.is_none() {
            self.target.sweep_partial(&record.files)?;
            record.write(&partial)?;
            self.check(&partial)?;
            self.target.name_partial()?;
        } else {
            record.write(&partial)?;
            // First, so that a file never is where the record does not know it. Weights come before their graphs, because a
            // variant counts as soon as its graphs are there.
            self.target.move_files(&[RECORD])?;
            let names = self.files.keys().map(String::as_str);
            let (graphs, others): (Vec<&str>, Vec<&str>) = names.partition(|name| name.ends_with(".onnx"));
            self.target.move_files(&others)?;
            self.target.move_files(&graphs)?;
            self.target.remove_partial()?;
            self.check(&dir)?;
        }
        Ok(PulledNow { dir, record, was_complete: false })
    }

    /// Opens the model. Files for an import are opened by the import.
    fn check(&self, dir: &Path) -> Result<()> {
        if self.part.is_none() {
            FoundModel::open_folder(dir, None)?;
        }
        Ok(())
    }
}
