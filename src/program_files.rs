//! Where descry's own files are: models, libraries and the files of a configuration.
//!
//! They are found relative to the running program, in the user's folders (XDG), and in the system's. No path of the machine
//! that built the program is part of it.
//!
//! - A program in `PREFIX/bin` has its files in `PREFIX/share/descry` and `PREFIX/lib/descry`.
//! - A program below a folder `target` that is beside a `Cargo.toml` was built there, and has them in that checkout, in
//!   `models` and `vendor`. A program in a folder `bin` is an installed one, even there.
//! - A program that `pip` installed is in `descry.scripts` of Python's packages, where auditwheel put it: its models are in
//!   the package `descry`, and ONNX Runtime is in the package of its own.
//! - The user's are in `$XDG_DATA_HOME/descry` and in `~/.local/lib/descry`, the system's in `descry` below each of
//!   `$XDG_DATA_DIRS`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// descry's folder below those of XDG and of a prefix.
const OWN: &str = "descry";
/// The folder of a wheel's programs, beside its package.
const WHEEL_PROGRAMS: &str = "descry.scripts";
/// The data folders of the system where `XDG_DATA_DIRS` names none.
const SYSTEM_DATA: &str = "/usr/local/share:/usr/share";
/// Most folders of `XDG_DATA_DIRS` that are searched.
const MOST_SYSTEM_FOLDERS: usize = 32;

/// How a program was started from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProgramOrigin {
    /// The target folder of this checkout.
    Checkout(PathBuf),
    /// The folder `bin` of this prefix, or any other folder beside which `lib` and `share` may be.
    Prefix(PathBuf),
    /// The folder of Python's packages that a wheel was installed in.
    Packages(PathBuf),
    /// The system does not say.
    Unknown,
}

/// What of the environment decides where files are.
#[derive(Debug, Clone, Default)]
struct FolderVariables {
    data_home: Option<OsString>,
    data_dirs: Option<OsString>,
    #[cfg(feature = "cli")]
    config_home: Option<OsString>,
    cache_home: Option<OsString>,
    home: Option<PathBuf>,
}

/// The folders in which descry's files may be.
#[derive(Debug, Clone)]
pub(crate) struct ProgramFiles {
    origin: ProgramOrigin,
    variables: FolderVariables,
}

impl ProgramFiles {
    /// The folders of this process.
    pub(crate) fn of_this_program() -> ProgramFiles {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let variables = FolderVariables {
            data_home: variable("XDG_DATA_HOME"),
            data_dirs: variable("XDG_DATA_DIRS"),
            #[cfg(feature = "cli")]
            config_home: variable("XDG_CONFIG_HOME"),
            cache_home: variable("XDG_CACHE_HOME"),
            home: std::env::home_dir().filter(|home| home.is_absolute()),
        };
        // The program may have been started through a link.
        let exe = std::env::current_exe().ok().map(|exe| exe.canonicalize().unwrap_or(exe));
        ProgramFiles { origin: origin_of(exe.as_deref()), variables }
    }

    /// Where the program was started from.
    #[cfg(feature = "cli")]
    pub(crate) fn origin(&self) -> &ProgramOrigin {
        &self.origin
    }

    /// Folders that hold model folders, best first.
    pub(crate) fn model_folders(&self) -> Vec<PathBuf> {
        let own = match &self.origin {
            ProgramOrigin::Checkout(root) => Some(root.join("models")),
            _ => None,
        };
        own.into_iter().chain(self.data_folders().into_iter().map(|data| data.join("models"))).collect()
    }

    /// Where the model that reads text may be, best first.
    pub(crate) fn text_model_folders(&self) -> Vec<PathBuf> {
        let own = match &self.origin {
            ProgramOrigin::Checkout(root) => Some(root.join("vendor/text-model")),
            _ => None,
        };
        let installed = self.data_folders().into_iter().map(|data| data.join("text-model"));
        // What `pip install --target` leaves.
        let packages = self.library_folders().into_iter().map(|folder| folder.join("rapidocr/models"));
        own.into_iter().chain(installed).chain(packages).collect()
    }

    /// Folders that hold shared libraries, best first.
    pub(crate) fn library_folders(&self) -> Vec<PathBuf> {
        let own = match &self.origin {
            ProgramOrigin::Checkout(root) => Some(root.join("vendor/onnxruntime")),
            ProgramOrigin::Prefix(prefix) => Some(prefix.join("lib").join(OWN)),
            ProgramOrigin::Packages(packages) => Some(packages.join("onnxruntime/capi")),
            ProgramOrigin::Unknown => None,
        };
        own.into_iter().chain(self.user_libraries()).collect()
    }

    /// The user's own folder of libraries. It need not exist.
    pub(crate) fn user_libraries(&self) -> Option<PathBuf> {
        Some(self.variables.home.as_ref()?.join(".local/lib").join(OWN))
    }

    /// The user's own folder of data. It need not exist.
    pub(crate) fn user_data(&self) -> Option<PathBuf> {
        self.user_folder(self.variables.data_home.as_ref(), ".local/share")
    }

    /// The user's own folder of configuration. It need not exist.
    #[cfg(feature = "cli")]
    pub(crate) fn user_config(&self) -> Option<PathBuf> {
        self.user_folder(self.variables.config_home.as_ref(), ".config")
    }

    /// The user's own folder of what can be made again. It need not exist.
    pub(crate) fn user_cache(&self) -> Option<PathBuf> {
        self.user_folder(self.variables.cache_home.as_ref(), ".cache")
    }

    /// By the specification of XDG, a relative path does not count.
    fn user_folder(&self, variable: Option<&OsString>, below_home: &str) -> Option<PathBuf> {
        let named = variable.map(PathBuf::from).filter(|path| path.is_absolute());
        Some(named.or_else(|| Some(self.variables.home.as_ref()?.join(below_home)))?.join(OWN))
    }

    /// Folders of data: the prefix's, the user's, the system's.
    fn data_folders(&self) -> Vec<PathBuf> {
        let own = match &self.origin {
            ProgramOrigin::Prefix(prefix) => Some(prefix.join("share").join(OWN)),
            ProgramOrigin::Packages(packages) => Some(packages.join(OWN)),
            _ => None,
        };
        let system = self.variables.data_dirs.clone().unwrap_or_else(|| SYSTEM_DATA.into());
        let system = std::env::split_paths(&system).filter(|path| path.is_absolute()).take(MOST_SYSTEM_FOLDERS);
        let mut folders: Vec<PathBuf> = Vec::new();
        for folder in own.into_iter().chain(self.user_data()).chain(system.map(|folder| folder.join(OWN))) {
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        folders
    }
}

fn origin_of(exe: Option<&Path>) -> ProgramOrigin {
    let Some(folder) = exe.and_then(Path::parent) else { return ProgramOrigin::Unknown };
    if folder.file_name().is_some_and(|name| name == WHEEL_PROGRAMS)
        && let Some(packages) = folder.parent()
    {
        return ProgramOrigin::Packages(packages.to_path_buf());
    }
    if folder.file_name().is_none_or(|name| name != "bin") {
        let is_target = |path: &Path| path.file_name().is_some_and(|name| name == "target");
        for target in folder.ancestors().filter(|path| is_target(path)) {
            if let Some(root) = target.parent().filter(|root| root.join("Cargo.toml").is_file()) {
                return ProgramOrigin::Checkout(root.to_path_buf());
            }
        }
    }
    folder.parent().map_or(ProgramOrigin::Unknown, |prefix| ProgramOrigin::Prefix(prefix.to_path_buf()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(exe: &Path, variables: FolderVariables) -> ProgramFiles {
        ProgramFiles { origin: origin_of(Some(exe)), variables }
    }

    fn home() -> FolderVariables {
        FolderVariables { home: Some("/home/me".into()), ..FolderVariables::default() }
    }

    #[test]
    fn an_installed_program_has_its_files_beside_bin() {
        let files = files(Path::new("/opt/descry/bin/descry"), home());
        let models = ["/opt/descry/share", "/home/me/.local/share", "/usr/local/share", "/usr/share"];
        assert_eq!(files.model_folders(), models.map(|folder| Path::new(folder).join("descry/models")));
        assert_eq!(
            files.library_folders(),
            ["/opt/descry/lib/descry", "/home/me/.local/lib/descry"].map(PathBuf::from)
        );
        assert_eq!(files.text_model_folders()[0], Path::new("/opt/descry/share/descry/text-model"));
    }

    #[test]
    fn only_what_cargo_built_has_its_files_in_the_checkout() {
        let root = tempfile::tempdir().unwrap();
        let exe = |path: &str| root.path().join(path);
        assert!(matches!(origin_of(Some(&exe("target/debug/descry"))), ProgramOrigin::Prefix(_)));
        std::fs::write(exe("Cargo.toml"), "").unwrap();
        let checkout = ProgramOrigin::Checkout(root.path().into());
        for built in ["target/debug/descry", "target/x/release/descry", "target/debug/deps/descry-1"] {
            assert_eq!(origin_of(Some(&exe(built))), checkout, "{built}");
        }
        let checkout = files(&exe("target/debug/descry"), home());
        assert_eq!(checkout.model_folders()[0], exe("models"));
        assert_eq!(checkout.library_folders()[0], exe("vendor/onnxruntime"));
        assert_eq!(checkout.text_model_folders()[0], exe("vendor/text-model"));
        // A package that is put together below `target` is an installed program.
        for installed in ["target/dist/usr/bin/descry", "bin/descry", "other/descry"] {
            assert!(matches!(origin_of(Some(&exe(installed))), ProgramOrigin::Prefix(_)), "{installed}");
        }
        assert_eq!(origin_of(None), ProgramOrigin::Unknown);
    }

    #[test]
    fn a_wheel_has_its_files_in_the_packages_of_python() {
        let files = files(Path::new("/venv/lib/python3.11/site-packages/descry.scripts/descry"), home());
        let packages = Path::new("/venv/lib/python3.11/site-packages");
        assert_eq!(files.model_folders()[0], packages.join("descry/models"));
        assert_eq!(files.text_model_folders()[0], packages.join("descry/text-model"));
        assert_eq!(files.library_folders()[0], packages.join("onnxruntime/capi"));
    }

    #[test]
    fn folders_of_the_user_and_the_system_are_those_of_xdg() {
        let text = |text: &str| Some(OsString::from(text));
        let variables = FolderVariables {
            data_home: text("/d"),
            data_dirs: text("/a:relative:/b:/d"),
            #[cfg(feature = "cli")]
            config_home: text("/c"),
            cache_home: text("relative"),
            ..home()
        };
        let files = files(Path::new("/usr/bin/descry"), variables);
        let models = ["/usr/share", "/d", "/a", "/b"].map(|folder| Path::new(folder).join("descry/models"));
        assert_eq!(files.model_folders(), models);
        assert_eq!(files.user_data(), Some("/d/descry".into()));
        #[cfg(feature = "cli")]
        assert_eq!(files.user_config(), Some("/c/descry".into()));
        assert_eq!(files.user_cache(), Some("/home/me/.cache/descry".into()));
        let nobody = ProgramFiles { origin: ProgramOrigin::Unknown, variables: FolderVariables::default() };
        assert_eq!((nobody.user_data(), nobody.user_libraries()), (None, None));
    }
}
