//! The model folder: where it is, and whether its files are the ones that its manifest lists. A CLIP in the hub's layout is
//! one too, with a manifest that is made from its own files.
//!
//! Owns the search for the folder and the check of its files; the manifest itself is [`manifest`](super::manifest)'s.
//! Opening a folder reads every file whose hash is not [known](super::file_hash), to check its SHA-256, in blocks of 64 KiB; no
//! file is held in memory.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest, Sha256};

use crate::digest::hex;
use crate::error::{Error, Result};
use crate::limited_file::read_bytes;
use crate::message;
use crate::message::{Message, Setting};
use crate::model::file_hash::file_sha256;
use crate::model::hub::clip::{is_clip, read_clip};
use crate::model::hub::listing::{has_file, has_hub_layout};
use crate::model::manifest::{CaptionerSpec, EmbedderSpec, FileSpec, Manifest};
use crate::model::manifest_format::{MANIFEST, parse_manifest};
use crate::model::precision::Precision;
use crate::model::pulled::{HUB, ModelReference, RECORD, store_folder};
use crate::model::verified::{ListedFiles, resolve};
use crate::program_files::ProgramFiles;
use crate::regular_file;

/// The environment variable that names a model folder.
pub(crate) const ENV_MODEL: &str = "DESCRY_MODEL";
/// What the name of a model on a server begins with.
pub(crate) const SERVER: &str = "openai:";
/// The model that is used where none is named.
pub(crate) const BUILTIN: &str = "builtin";

/// Largest manifest in bytes. Real ones take a few kilobytes; the limit bounds what is read of a wrong file.
const MANIFEST_LIMIT: u64 = 4 << 20;

/// What to do about a folder whose files do not match its manifest.
const MAKE_AGAIN: &str = "Download or make the model folder again, and leave its files unchanged.";

/// A model folder whose files all match its manifest, or a CLIP in the hub's layout.
#[derive(Debug, Clone)]
pub struct ModelFolder {
    dir: PathBuf,
    manifest: Manifest,
    hash: String,
    /// The variant of its graphs, if it has the hub's layout.
    precision: Option<Precision>,
}

impl ModelFolder {
    /// Finds a model folder and opens it.
    ///
    /// `name_or_dir` is a folder or the name of a model; `None` uses the folder that the environment variable
    /// `DESCRY_MODEL` names, or the built-in model. The model `NAME` can be `models/NAME` in the checkout whose build the
    /// program is, `../share/descry/models/NAME` seen from the program's folder, `descry/models/NAME` in the data folders of
    /// the user and the system, or one that was pulled. `hf:OWNER/NAME` and `hf:OWNER/NAME@REV` were pulled.
    ///
    /// # Errors
    /// [`Error::Model`] if there is no such folder or [`ModelFolder::open`] refuses it.
    pub fn load(name_or_dir: Option<&str>) -> Result<ModelFolder> {
        ModelFolder::open(locate(name_or_dir)?)
    }

    /// As [`ModelFolder::load`], for a model that embeds. If none is named and the one of `DESCRY_MODEL` only captions,
    /// it is the built-in model.
    ///
    /// # Errors
    /// As for [`ModelFolder::load`], and [`Error::Model`] if the model has no embedder.
    pub fn load_embedder(name_or_dir: Option<&str>) -> Result<ModelFolder> {
        let folder = match name_or_dir {
            None if default_captions_only()? => ModelFolder::open(find(None, None, &model_folders(), None)?)?,
            named => ModelFolder::load(named)?,
        };
        folder.embedder()?;
        Ok(folder)
    }

    /// Opens a folder: reads and validates its manifest, then checks the size and the SHA-256 of every file. A folder in
    /// the hub's layout has none; there the files are hashed.
    ///
    /// # Errors
    /// [`Error::Model`] if the manifest or a file is missing, unreadable or not what it should be.
    pub fn open(dir: impl AsRef<Path>) -> Result<ModelFolder> {
        let dir = dir.as_ref();
        if is_of_hub(dir)? {
            let (manifest, listing) = read_clip(dir)?;
            let precision = Some(listing.precision);
            return Ok(ModelFolder { dir: dir.to_path_buf(), manifest, hash: listing.hash, precision });
        }
        let text = read_manifest(dir)?;
        let manifest = parse_manifest(&text).map_err(|fault| {
            let error = Error::model(dir.display().to_string(), fault.cause, fault.remedy);
            match fault.source {
                Some(e) => error.with_source(e),
                None => error,
            }
        })?;
        check_files(dir, &manifest)?;
        let hash = hex(&Sha256::digest(&text));
        Ok(ModelFolder { dir: dir.to_path_buf(), manifest, hash, precision: None })
    }

    /// The folder's path.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// SHA-256 of the manifest, in hexadecimal. The manifest holds the hashes of all files, so this identifies the
    /// whole model. In the hub's layout, SHA-256 over the names and hashes of the files.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The folder's manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The part that embeds.
    ///
    /// # Errors
    /// [`Error::Model`] if the folder has no such part.
    pub fn embedder(&self) -> Result<&EmbedderSpec> {
        self.manifest.embedder.as_ref().ok_or_else(|| {
            self.error(
                "it has a captioner and no embedder, so it cannot compare pictures",
                "Use another model for that, such as the built-in one or a CLIP.",
            )
        })
    }

    /// The part that captions.
    ///
    /// # Errors
    /// [`Error::Model`] if the folder has no such part.
    pub fn captioner(&self) -> Result<&CaptionerSpec> {
        self.manifest.captioner.as_ref().ok_or_else(|| {
            self.error(
                "it has an embedder and no captioner, so it cannot describe pictures",
                message!["Give it as ", Setting::Embedder, ", and a model that captions as ", Setting::Model, "."],
            )
        })
    }

    /// The variant of its graphs, if it has the hub's layout.
    pub fn precision(&self) -> Option<Precision> {
        self.precision
    }

    /// Its files, as they were when they were hashed.
    pub(crate) fn listed(&self) -> ListedFiles<'_> {
        ListedFiles { dir: &self.dir, files: &self.manifest.files }
    }

    /// Bytes of a graph, with the weights beside it.
    pub(crate) fn graph_bytes(&self, graph: &str) -> u64 {
        self.manifest.files.iter().filter(|(name, _)| name.starts_with(graph)).map(|(_, spec)| spec.bytes).sum()
    }

    /// An [`Error::Model`] about this folder.
    pub(crate) fn error(&self, cause: impl Into<Message>, remedy: impl Into<Message>) -> Error {
        Error::model(self.dir.display().to_string(), cause, remedy)
    }
}

/// The path of a model folder, as [`ModelFolder::load`] finds it.
pub(crate) fn locate(name_or_dir: Option<&str>) -> Result<PathBuf> {
    let env = std::env::var(ENV_MODEL).ok().filter(|v| !v.is_empty());
    find(name_or_dir, env.as_deref(), &model_folders(), store_folder().ok().as_deref())
}

fn model_folders() -> Vec<PathBuf> {
    ProgramFiles::of_this_program().model_folders()
}

/// Whether a folder has the hub's layout. A manifest in it comes first.
///
/// # Errors
/// [`Error::Model`] if the disk does not say what is there.
pub(crate) fn is_of_hub(dir: &Path) -> Result<bool> {
    Ok(!has_file(dir, MANIFEST)? && has_hub_layout(dir)?)
}

/// Whether the model of `DESCRY_MODEL` captions and does not embed.
fn default_captions_only() -> Result<bool> {
    if std::env::var(ENV_MODEL).is_ok_and(|model| model.starts_with(SERVER)) {
        return Ok(true);
    }
    let dir = &locate(None)?;
    if is_of_hub(dir)? {
        return Ok(!is_clip(dir));
    }
    let manifest = read_manifest(dir).ok().and_then(|text| parse_manifest(&text).ok());
    Ok(manifest.is_some_and(|manifest| manifest.embedder.is_none()))
}

/// Reads the text of a folder's manifest.
fn read_manifest(dir: &Path) -> Result<Vec<u8>> {
    let fail = |cause: String| {
        Error::model(
            dir.display().to_string(),
            cause,
            "Name a folder that holds model.json, its graphs and its tokenizer.",
        )
    };
    match regular_file::kind(dir) {
        Ok(Some(kind)) if kind.is_dir() => {}
        Ok(Some(_)) => return Err(fail("this is not a folder".into())),
        Ok(None) => return Err(fail("there is no such folder".into())),
        Err(e) => return Err(fail(format!("the folder cannot be read: {e}")).with_source(e)),
    }
    read_bytes(&dir.join(MANIFEST), MANIFEST_LIMIT).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => fail(format!("{MANIFEST} is missing")),
        io::ErrorKind::FileTooLarge => fail(format!("{MANIFEST} is larger than a manifest can be")),
        _ => fail(format!("{MANIFEST} cannot be read: {e}")).with_source(e),
    })
}

/// Refuses the folder if a file's size or SHA-256 is not the manifest's. Of several such files, names the first.
///
/// A core of its own for each file: the check is what every run waits for.
fn check_files(dir: &Path, manifest: &Manifest) -> Result<()> {
    let mut files: Vec<(usize, (&String, &FileSpec))> = manifest.files.iter().enumerate().collect();
    // The largest first, so that the cores end at about the same time.
    files.sort_by_key(|(_, (_, spec))| std::cmp::Reverse(spec.bytes));
    let next = AtomicUsize::new(0);
    let (files, next) = (&files, &next);
    let check = move || {
        let mine = std::iter::from_fn(|| files.get(next.fetch_add(1, Ordering::Relaxed)));
        mine.filter_map(|(order, (name, spec))| Some((*order, check_file(dir, name, spec).err()?))).collect::<Vec<_>>()
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(files.len());
    let faults = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(check)).collect();
        let mut faults = check();
        for other in others {
            faults.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        faults
    });
    faults.into_iter().min_by_key(|(order, _)| *order).map_or(Ok(()), |(_, e)| Err(e))
}

/// Refuses a file whose size or SHA-256 is not the manifest's.
fn check_file(dir: &Path, name: &str, spec: &FileSpec) -> Result<()> {
    let fail = |cause: String, remedy: &str| Error::model(dir.display().to_string(), cause, remedy);
    let opened = resolve(dir, name).and_then(|path| regular_file::open(&path)).and_then(|f| Ok((f.metadata()?, f)));
    let (meta, file) = match opened {
        Ok(opened) => opened,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(fail(format!("{name} is missing"), MAKE_AGAIN)),
        Err(e) if e.kind() == io::ErrorKind::Unsupported => {
            return Err(fail(format!("{name} is not a file"), MAKE_AGAIN).with_source(e));
        }
        Err(e) => {
            return Err(fail(format!("{name} cannot be read: {e}"), "Check the file's permissions.").with_source(e));
        }
    };
    if !meta.is_file() {
        return Err(fail(format!("{name} is not a file"), MAKE_AGAIN));
    }
    if meta.len() != spec.bytes {
        let what = if meta.len() < spec.bytes { "truncated" } else { "too large" };
        return Err(fail(
            format!("{name} is {what}: it has {} bytes, and the manifest says {}", meta.len(), spec.bytes),
            MAKE_AGAIN,
        ));
    }
    let hash = file_sha256(&file).map_err(|e| {
        fail(format!("{name} cannot be read: {e}"), "Check the disk and the file's permissions.").with_source(e)
    })?;
    if hash != spec.sha256.to_ascii_lowercase() {
        return Err(fail(
            format!("{name} was changed: its SHA-256 is {hash}, and the manifest says {}", spec.sha256),
            MAKE_AGAIN,
        ));
    }
    Ok(())
}

/// The path of the built-in model's folder.
///
/// # Errors
/// [`Error::Model`] if it is nowhere.
#[cfg(feature = "cli")]
pub(crate) fn locate_builtin() -> Result<PathBuf> {
    find(None, None, &model_folders(), None)
}

/// What the manifest of a folder states. Its files are not checked.
///
/// # Errors
/// [`Error::Model`] if it cannot be read.
pub(crate) fn stated_manifest(dir: &Path) -> Result<Manifest> {
    let text = read_manifest(dir)?;
    parse_manifest(&text).map_err(|fault| Error::model(dir.display().to_string(), fault.cause, fault.remedy))
}

/// The folder of a model that is named as one of the hub.
fn find_of_hub(wanted: &str, store: Option<&Path>) -> Result<PathBuf> {
    let reference = ModelReference::parse(wanted)?;
    if let Some(dir) = store.map(|store| store.join(reference.folder()))
        && has_file(&dir, RECORD)?
    {
        return Ok(dir);
    }
    Err(Error::model(
        wanted,
        "it is not on this machine yet",
        message!["Bring it here with ", Setting::ModelPull, format!(" {wanted}.")],
    ))
}

/// The model folder's path; see [`ModelFolder::load`]. `env` is the value of `DESCRY_MODEL`, `folders` hold the models of this
/// installation, `store` those that were pulled.
fn find(named: Option<&str>, env: Option<&str>, folders: &[PathBuf], store: Option<&Path>) -> Result<PathBuf> {
    let requested = named.or(env);
    let wanted = requested.unwrap_or(BUILTIN);
    if wanted.starts_with(HUB) && !Path::new(wanted).is_dir() {
        return find_of_hub(wanted, store);
    }
    let mut components = Path::new(wanted).components();
    let is_name = matches!(components.next(), Some(Component::Normal(_))) && components.next().is_none();
    if !is_name || (requested.is_some() && Path::new(wanted).is_dir()) {
        // A path. If there is no model folder there, opening it says why.
        return Ok(PathBuf::from(wanted));
    }
    let mut places: Vec<PathBuf> = folders.iter().map(|folder| folder.join(wanted)).collect();
    if let Some(found) = places.iter().find(|p| p.join(MANIFEST).is_file()) {
        return Ok(found.clone());
    }
    let pulled = store.filter(|_| ModelReference::parse(wanted).is_ok()).map(|store| store.join(wanted));
    if let Some(pulled) = pulled {
        if has_file(&pulled, RECORD)? {
            return Ok(pulled);
        }
        if !places.contains(&pulled) {
            places.push(pulled);
        }
    }
    if wanted == BUILTIN {
        let tried: Vec<String> = places.iter().map(|p| p.display().to_string()).collect();
        return Err(Error::model(
            wanted,
            format!("it is not installed; looked for {}", tried.join(", ")),
            message!["Bring it here with ", Setting::ModelPull, " builtin; ", Setting::Doctor, " prints other ways."],
        ));
    }
    let tried: Vec<String> = places.iter().map(|p| p.display().to_string()).collect();
    Err(Error::model(
        wanted,
        format!("no such model folder; looked for {}", if tried.is_empty() { wanted.into() } else { tried.join(", ") }),
        message![
            "Name a model folder with ",
            Setting::Model,
            format!(" or the environment variable {ENV_MODEL}, or bring one with "),
            Setting::ModelPull,
            ": ",
            Setting::ModelList,
            " prints which.",
        ],
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/tiny")
    }

    fn copy() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(tiny()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
        dir
    }

    fn edit(dir: &Path, from: &str, to: &str) {
        let path = dir.join(MANIFEST);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        std::fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    fn refusal(dir: &Path) -> String {
        let error = ModelFolder::open(dir).unwrap_err();
        assert!(matches!(error, Error::Model { .. }), "{error:?}");
        error.to_string()
    }

    #[test]
    fn opens_and_describes() {
        let folder = ModelFolder::open(tiny()).unwrap();
        let text = folder.to_string();
        assert!(text.contains("image.onnx") && text.contains("grid"), "{text}");
    }

    #[test]
    fn refuses_what_was_changed() {
        let dir = copy();
        let path = dir.path().join("mapper.onnx");
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        assert!(refusal(dir.path()).contains("mapper.onnx was changed"));
        std::fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert!(refusal(dir.path()).contains("mapper.onnx is truncated"));
        std::fs::remove_file(&path).unwrap();
        assert!(refusal(dir.path()).contains("mapper.onnx is missing"));
        std::fs::create_dir(&path).unwrap();
        assert!(refusal(dir.path()).contains("mapper.onnx is not a file"));
        std::fs::remove_file(dir.path().join("decoder.onnx")).unwrap();
        assert!(refusal(dir.path()).contains("decoder.onnx is missing"), "the first of both, whichever was read first");
    }

    #[test]
    fn refuses_wrong_manifests() {
        for (from, to, cause) in [
            ("descry-model/1", "descry-model/9", "descry-model/9"),
            ("\"format\"", "\"former\"", "has no \"format\""),
            ("\"licence\"", "\"license\"", "license"),
            ("\"squash\"", "\"stretch\"", "stretch"),
            ("\"image.onnx\"", "\"../image.onnx\"", "is not listed under"),
            ("\"beam\": 5", "\"beam\": 0", "decoding.beam is 0"),
        ] {
            let dir = copy();
            edit(dir.path(), from, to);
            let text = refusal(dir.path());
            assert!(text.contains(cause) && text.contains(MANIFEST), "{text}");
        }
        let dir = copy();
        let path = dir.path().join(MANIFEST);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"image.onnx\"", "\"../image.onnx\"")).unwrap();
        assert!(refusal(dir.path()).contains("leads out of the folder"));
        std::fs::write(&path, "[").unwrap();
        assert!(refusal(dir.path()).contains("model.json cannot be read"));
        std::fs::remove_file(&path).unwrap();
        assert!(refusal(dir.path()).contains("model.json is missing"));
        assert!(refusal(&dir.path().join("none")).contains("no such folder"));
    }

    #[test]
    fn models_are_found_in_the_first_folder_that_has_them() {
        let root = tempfile::tempdir().unwrap();
        let folders = ["first", "second", "third"].map(|name| root.path().join(name));
        for folder in &folders[1..] {
            std::fs::create_dir_all(folder.join("builtin")).unwrap();
            std::fs::write(folder.join("builtin").join(MANIFEST), "").unwrap();
        }
        let home = folders[1].join("builtin");
        assert_eq!(find(None, None, &folders, None).unwrap(), home);
        assert_eq!(find(Some("builtin"), Some("other"), &folders, None).unwrap(), home);
        let dir = home.to_str().unwrap();
        assert_eq!(find(None, Some(dir), &folders, None).unwrap(), home);
        assert_eq!(find(Some("/nowhere/x"), None, &folders, None).unwrap(), PathBuf::from("/nowhere/x"));
        let error = find(Some("absent-model"), None, &folders, Some(&folders[0])).unwrap_err().to_string();
        assert!(error.contains("absent-model") && error.contains("`model`"), "{error}");
        assert_eq!(error.matches("first").count(), 1, "each place is named once: {error}");
    }

    #[test]
    fn pulled_models_are_found_by_their_names() {
        let store = tempfile::tempdir().unwrap();
        for folder in ["small", "Owner--Name", "Owner--Name@v1"] {
            std::fs::create_dir(store.path().join(folder)).unwrap();
            std::fs::write(store.path().join(folder).join(RECORD), "").unwrap();
        }
        std::fs::create_dir(store.path().join("unrecorded")).unwrap();
        let found = |name| find(Some(name), None, &[], Some(store.path()));
        assert_eq!(found("small").unwrap(), store.path().join("small"));
        assert_eq!(found("hf:Owner/Name").unwrap(), store.path().join("Owner--Name"));
        assert_eq!(found("hf:Owner/Name@v1").unwrap(), store.path().join("Owner--Name@v1"));
        let error = found("hf:Owner/Name@v2").unwrap_err().to_string();
        assert!(error.contains("not on this machine") && error.contains("`model pull` hf:Owner/Name@v2"), "{error}");
        assert!(matches!(found("hf:../x").unwrap_err(), Error::Usage { .. }));
        let error = found("unrecorded").unwrap_err().to_string();
        assert!(error.contains("no such model folder") && error.contains("`model pull`"), "{error}");
    }
}
