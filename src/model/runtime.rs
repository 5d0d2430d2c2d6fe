//! ONNX Runtime: finding and loading its shared library once a process, and building sessions from graphs.
//!
//! Owns the process's one environment. Sessions do not spin (stages share the cores), keep no memory plan per input
//! shape (shapes change at every step of decoding, and plans would pile up), and ask for deterministic kernels.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, OnceLock};

use ort::environment::Environment;
use ort::ep;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::{Outlet, TensorElementType};

use crate::error::{Error, Result};
use crate::model::folder::ModelFolder;

/// The environment variable that names the shared library.
pub const ENV_LIBRARY: &str = "DESCRY_ONNXRUNTIME";
/// The variable that `ort`'s other users know.
const ENV_ORT: &str = "ORT_DYLIB_PATH";
const REMEDY: &str = "run `make setup`, or name the library with DESCRY_ONNXRUNTIME=/path/to/libonnxruntime.so";

/// Rows of a batch at least. Matrix kernels take another path where there is one, and a result must not depend on what else
/// is in the batch: one alone has an idle row for company.
pub(crate) const LEAST_ROWS: usize = 2;

/// Where a graph is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    #[default]
    Cpu,
    Cuda(u32),
    TensorRt(u32),
    CoreMl,
    OpenVino,
    DirectMl(u32),
}

impl FromStr for Device {
    type Err = Error;

    /// `cpu`, `cuda`, `cuda:1`, `tensorrt:0`, `coreml`, `openvino`, `directml:0`.
    fn from_str(text: &str) -> Result<Device> {
        let (kind, number) = match text.split_once(':') {
            Some((kind, number)) => (kind, number.parse::<u32>().ok()),
            None => (text, Some(0)),
        };
        let numbered = text.contains(':');
        let device = match (kind.to_ascii_lowercase().as_str(), number) {
            ("cpu", _) if !numbered => Some(Device::Cpu),
            ("cuda", Some(n)) => Some(Device::Cuda(n)),
            ("tensorrt", Some(n)) => Some(Device::TensorRt(n)),
            ("directml", Some(n)) => Some(Device::DirectMl(n)),
            ("coreml", _) if !numbered => Some(Device::CoreMl),
            ("openvino", _) if !numbered => Some(Device::OpenVino),
            _ => None,
        };
        device.ok_or_else(|| {
            Error::usage(
                format!("there is no device {text:?}"),
                "use --device cpu, cuda[:N], tensorrt[:N], directml[:N], coreml or openvino",
            )
        })
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => write!(f, "cpu"),
            Device::Cuda(n) => write!(f, "cuda:{n}"),
            Device::TensorRt(n) => write!(f, "tensorrt:{n}"),
            Device::CoreMl => write!(f, "coreml"),
            Device::OpenVino => write!(f, "openvino"),
            Device::DirectMl(n) => write!(f, "directml:{n}"),
        }
    }
}

/// How sessions are built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionOptions {
    /// Threads inside an operation; 0 leaves it to ONNX Runtime (one a core). Default: 0.
    pub threads: usize,
    /// Where graphs are run; asked for and absent is an error, never the CPU instead. Default: the CPU.
    pub device: Device,
    /// Keep freed memory for the next run: faster, and the peak stays. Default: true.
    pub arena: bool,
}

impl Default for SessionOptions {
    fn default() -> SessionOptions {
        SessionOptions { threads: 0, device: Device::Cpu, arena: true }
    }
}

/// The loaded library and its environment; one a process.
pub struct Runtime {
    environment: Environment,
    library: PathBuf,
}

static RUNTIME: OnceLock<Runtime> = OnceLock::new();
static LOADING: Mutex<()> = Mutex::new(());

impl Runtime {
    /// Loads the library at the first call; later calls give the same one.
    pub fn load() -> Result<&'static Runtime> {
        if let Some(runtime) = RUNTIME.get() {
            return Ok(runtime);
        }
        let _one_at_a_time = LOADING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(runtime) = RUNTIME.get() {
            return Ok(runtime);
        }
        let (builder, library) = open_first(&candidates())?;
        let environment = builder
            .with_name("descry")
            .build()
            .map_err(|e| Error::runtime(format!("{} does not start: {e}", library.display()), REMEDY))?;
        // What fails comes back as an error, with its text; printing it too would only say it twice.
        environment.set_log_level(ort::logging::LogLevel::Fatal);
        Ok(RUNTIME.get_or_init(|| Runtime { environment, library }))
    }

    /// The library's path, or the name that the system's loader found it by.
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// What the library says about its build, version included.
    pub fn build_info(&self) -> &'static str {
        ort::info()
    }

    /// Builds the session of a graph in a model folder.
    pub fn session(&self, folder: &ModelFolder, graph: &str, options: &SessionOptions) -> Result<Session> {
        let path = folder.path(graph);
        let mut builder = self.builder(options)?;
        builder.commit_from_file(&path).map_err(|e| {
            if options.device == Device::Cpu {
                folder
                    .error(format!("{graph} is no graph that ONNX Runtime can run: {e}"), "make the model folder again")
            } else {
                Error::runtime(format!("{graph} cannot run on {}: {e}", options.device), "use --device cpu")
            }
        })
    }

    /// Builds the session of a graph that was made here.
    pub(crate) fn made(&self, model: ort::editor::Model, name: &str, options: &SessionOptions) -> Result<Session> {
        model
            .into_session(&self.builder(options)?)
            .map_err(|e| Error::runtime(format!("{name} cannot run on {}: {e}", options.device), "use --device cpu"))
    }

    fn builder(&self, options: &SessionOptions) -> Result<SessionBuilder> {
        let failed = |e: ort::Error<SessionBuilder>| Error::runtime(format!("session options: {e}"), REMEDY);
        let mut builder = Session::builder(&self.environment)
            .map_err(|e| Error::runtime(format!("session options: {e}"), REMEDY))?
            .with_optimization_level(GraphOptimizationLevel::All)
            .map_err(failed)?
            .with_intra_op_spinning(false)
            .map_err(failed)?
            .with_inter_op_spinning(false)
            .map_err(failed)?
            .with_memory_pattern(false)
            .map_err(failed)?
            .with_deterministic_compute(true)
            .map_err(failed)?;
        if options.threads > 0 {
            builder = builder.with_intra_threads(options.threads).map_err(failed)?;
        }
        let wanted = provider(options.device)?;
        if let Some(provider) = wanted {
            builder = builder.with_execution_providers([provider.error_on_failure()]).map_err(|e| {
                Error::runtime(
                    format!("the device {} was asked for and is not there: {e}", options.device),
                    "use --device cpu, or a descry built with that device's Cargo feature and an ONNX Runtime that has it",
                )
            })?;
        }
        builder
            .with_execution_providers([ep::CPU::default().with_arena_allocator(options.arena).build()])
            .map_err(failed)
    }
}

/// The execution provider of a device; `None` for the CPU, which every session has.
fn provider(device: Device) -> Result<Option<ep::ExecutionProviderDispatch>> {
    match device {
        Device::Cpu => Ok(None),
        #[cfg(feature = "cuda")]
        Device::Cuda(n) => Ok(Some(ep::CUDA::default().with_device_id(n as i32).build())),
        #[cfg(feature = "tensorrt")]
        Device::TensorRt(n) => Ok(Some(ep::TensorRT::default().with_device_id(n as i32).build())),
        #[cfg(feature = "coreml")]
        Device::CoreMl => Ok(Some(ep::CoreML::default().build())),
        #[cfg(feature = "openvino")]
        Device::OpenVino => Ok(Some(ep::OpenVINO::default().build())),
        #[cfg(feature = "directml")]
        Device::DirectMl(n) => Ok(Some(ep::DirectML::default().with_device_id(n as i32).build())),
        #[allow(unreachable_patterns)] // where every feature is on
        absent => {
            let text = absent.to_string();
            let feature = text.split(':').next().unwrap_or_default();
            Err(Error::runtime(
                format!("the device {text} was asked for, and this descry was built without it"),
                format!("use --device cpu, or build descry with `--features {feature}`"),
            ))
        }
    }
}

/// Where what a graph gives is kept: in the host's memory, or in that of the device which runs it.
pub struct Memory {
    pub host: MemoryInfo<'static>,
    pub device: MemoryInfo<'static>,
    /// The device's is not the host's.
    away: bool,
}

impl Memory {
    pub fn of(device: Device) -> Result<Memory> {
        let away = match device {
            Device::Cuda(n) | Device::TensorRt(n) => Some((AllocationDevice::CUDA, n as i32)),
            Device::DirectMl(n) => Some((AllocationDevice::DIRECTML, n as i32)),
            // These take what they are given from the host's memory and leave it there.
            Device::Cpu | Device::CoreMl | Device::OpenVino => None,
        };
        let info = |place: AllocationDevice<'static>, number| {
            MemoryInfo::new(place, number, AllocatorType::Device, MemoryType::Default)
                .map_err(|e| Error::runtime(format!("the memory of {device}: {e}"), "use --device cpu"))
        };
        let host = info(AllocationDevice::CPU, 0)?;
        let is_away = away.is_some();
        let (place, number) = away.unwrap_or((AllocationDevice::CPU, 0));
        Ok(Memory { host, device: info(place, number)?, away: is_away })
    }

    /// Whether the device has memory of its own.
    pub(crate) fn is_away(&self) -> bool {
        self.away
    }
}

/// Where the library may be, best first; the flag says that somebody named it, so that nothing else will do.
fn candidates() -> Vec<(PathBuf, bool)> {
    let mut found = Vec::new();
    for variable in [ENV_LIBRARY, ENV_ORT] {
        if let Some(path) = std::env::var_os(variable).filter(|v| !v.is_empty()) {
            found.push((PathBuf::from(path), true));
        }
    }
    if found.is_empty() {
        let exe = std::env::current_exe().ok();
        for above in exe.iter().flat_map(|e| e.ancestors().skip(1)) {
            found.extend(libraries_in(&above.join("vendor/onnxruntime")).map(|p| (p, false)));
        }
        let system = format!("{}onnxruntime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        found.push((PathBuf::from(format!("{system}.1")), false));
        found.push((PathBuf::from(system), false));
    }
    found.truncate(32);
    found
}

/// The libraries in a folder by name, newest version first.
fn libraries_in(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let mut names: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            name.starts_with("libonnxruntime.") || name == "onnxruntime.dll"
        })
        .collect();
    names.sort();
    names.into_iter().rev()
}

fn open_first(candidates: &[(PathBuf, bool)]) -> Result<(ort::environment::EnvironmentBuilder, PathBuf)> {
    let mut tried = Vec::new();
    for (path, named) in candidates {
        if *named && path.components().count() > 1 && !path.is_file() {
            return Err(Error::runtime(
                format!("{} is named as its library and does not exist", path.display()),
                REMEDY,
            ));
        }
        match ort::init_from(path) {
            Ok(builder) => return Ok((builder, path.clone())),
            Err(e @ ort::LoadDynamicError::BadVersion { .. }) => {
                return Err(Error::runtime(format!("the library has the wrong version: {e}"), REMEDY));
            }
            Err(e) if *named => {
                return Err(Error::runtime(format!("the library named cannot be used: {e}"), REMEDY));
            }
            Err(_) => tried.push(path.display().to_string()),
        }
    }
    Err(Error::runtime(
        format!(
            "its shared library was not found; looked at {ENV_LIBRARY}, {ENV_ORT}, vendor/onnxruntime beside and above the \
             program, and the system's own libraries (tried {})",
            tried.join(", ")
        ),
        REMEDY,
    ))
}

/// An error of a run, with the graph it happened in.
pub(crate) fn run_error(graph: &str) -> impl Fn(ort::Error) -> Error + '_ {
    move |e| {
        Error::runtime(
            format!("{graph} failed: {e}"),
            "if memory ran out use a smaller --batch; else make the model folder again",
        )
    }
}

/// A dimension that a graph must have: any (batch and lengths that change), or exactly this.
pub(crate) type Dim = Option<usize>;

/// Refuses a graph whose input or output is missing, or has another type or shape than the manifest says.
pub(crate) fn expect(
    folder: &ModelFolder,
    graph: &str,
    side: &str,
    outlets: &[Outlet],
    name: &str,
    element: TensorElementType,
    dims: &[Dim],
) -> Result<()> {
    const REMEDY: &str = "make the model folder again: its manifest and its graphs are not of one model";
    let Some(outlet) = outlets.iter().find(|o| o.name() == name) else {
        let names: Vec<&str> = outlets.iter().map(|o| o.name()).collect();
        return Err(folder.error(format!("{graph} has no {side} {name:?}, only {}", names.join(", ")), REMEDY));
    };
    let shape = outlet.dtype().tensor_shape();
    let fits = outlet.dtype().tensor_type() == Some(element)
        && shape.is_some_and(|s| {
            // An outlet may leave its shape open; where it names a size, that must be the manifest's.
            s.len() == dims.len()
                && s.iter().zip(dims).all(|(have, want)| *have < 0 || want.is_none_or(|w| *have == w as i64))
        });
    if !fits {
        let wanted: Vec<String> = dims.iter().map(|d| d.map_or("?".into(), |d| d.to_string())).collect();
        return Err(folder.error(
            format!(
                "{graph}: {side} {name:?} is {}, and the manifest asks for {element} [{}]",
                outlet.dtype(),
                wanted.join(", ")
            ),
            REMEDY,
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_and_written() {
        for text in ["cpu", "cuda:0", "cuda:3", "tensorrt:1", "coreml", "openvino", "directml:0"] {
            assert_eq!(text.parse::<Device>().unwrap().to_string(), text);
        }
        assert_eq!("CUDA".parse::<Device>().unwrap(), Device::Cuda(0));
        for text in ["", "gpu", "cpu:1", "cuda:", "cuda:x", "cuda:-1"] {
            assert!(matches!(text.parse::<Device>(), Err(Error::Usage { .. })), "{text}");
        }
    }

    #[test]
    fn a_missing_library_says_where_it_was_looked_for() {
        let missing = vec![(PathBuf::from("libdescry-no-such-library.so"), false)];
        let error = open_first(&missing).err().unwrap().to_string();
        assert!(error.contains(ENV_LIBRARY) && error.contains("make setup"), "{error}");
        let named = vec![(PathBuf::from("/nowhere/libonnxruntime.so"), true)];
        let error = open_first(&named).err().unwrap().to_string();
        assert!(error.contains("/nowhere/libonnxruntime.so"), "{error}");
    }

    #[test]
    fn a_library_that_is_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("libonnxruntime.so.1");
        std::fs::write(&path, "not a library").unwrap();
        let error = open_first(&[(path, true)]).err().unwrap();
        assert!(matches!(error, Error::Runtime { .. }), "{error}");
    }

    #[test]
    fn newest_library_first() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["libonnxruntime.so.1.31.0", "libonnxruntime.so.1.32.0", "libonnxruntime_providers_shared.so", "x"]
        {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let found: Vec<_> = libraries_in(dir.path()).collect();
        assert_eq!(found.len(), 2);
        assert!(found[0].ends_with("libonnxruntime.so.1.32.0"));
    }
}
