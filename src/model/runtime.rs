//! ONNX Runtime: one environment for the process, and sessions built from graphs.
//!
//! Sessions do not spin, because the stages share the cores. They keep no memory plan for each input shape: shapes
//! change at every step of decoding, and plans would pile up. They ask for deterministic kernels.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use ort::environment::Environment;
use ort::ep;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::Tensor;

use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;
use crate::model::device::Device;
use crate::model::folder::ModelFolder;
use crate::model::library::{self, remedy};
use crate::model::onnx::{FloatGraph, WeightValues, to_floats};
use crate::model::verified::{GraphStorage, VerifiedGraph};

/// The option that names the folder with the weights of a graph in memory.
pub(super) const EXTERNAL_WEIGHTS: &str = "session.model_external_initializers_file_folder_path";

/// How sessions are built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionOptions {
    /// Threads inside an operation; 0 leaves the number to ONNX Runtime (one for each core). Default: 0.
    pub threads: usize,
    /// Where graphs run. If the device is absent, building a session fails; it never falls back to the CPU. Default:
    /// the CPU.
    pub device: Device,
    /// Whether freed memory is kept for the next run: that is faster, and memory stays at its peak. Default: true.
    pub arena: bool,
    /// Whether decoders bind their keys on the CPU too, as they do on a device with memory of its own. Captions are the
    /// same, and take longer: it shows on any machine what happens on such a device. Default: false.
    pub bind_keys: bool,
    /// Whether text towers are for a few texts. Where their weights are stored as integers, they then load in less time and
    /// memory, and take longer for each text; embeddings are the same but for the last bits. Default: false.
    pub few_texts: bool,
}

impl Default for SessionOptions {
    fn default() -> SessionOptions {
        SessionOptions { threads: 0, device: Device::Cpu, arena: true, bind_keys: false, few_texts: false }
    }
}

impl SessionOptions {
    /// Threads for what a model computes outside its graphs.
    pub(crate) fn threads_on_host(&self) -> usize {
        if self.threads > 0 { self.threads } else { std::thread::available_parallelism().map_or(1, usize::from) }
    }
}

/// What ONNX Runtime does with a graph before its first run. Results of one are those of another but for the last bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Preparation {
    /// It fuses operators and packs weights, for the fastest runs.
    Full,
    /// It packs weights. A graph of thousands of small operators, few of which can be fused, runs as fast, and loads in half
    /// the time.
    Packed,
    /// Nothing, for a few runs of a small graph: anything else takes longer than they do. Then sums are added in an order
    /// that depends on the number of threads, so it wants one.
    None,
}

/// A graph in memory, before there is a session of it. Reading it needs no ONNX Runtime, so that can load meanwhile.
pub(crate) struct ReadGraph {
    graph: VerifiedGraph,
    /// The graph with its integer weights as floats, which gives the same results, if it has such weights.
    floats: Option<FloatGraph>,
}

impl ReadGraph {
    /// Reads a graph of a model folder.
    ///
    /// # Errors
    /// [`Error::Model`] if its files are not those of the manifest.
    pub(crate) fn of(folder: &ModelFolder, graph: &str, options: &SessionOptions) -> Result<ReadGraph> {
        let mut read = ReadGraph::unchanged(folder, graph)?;
        read.floats = read.changeable(options).and_then(|bytes| to_floats(bytes, options.threads_on_host()));
        Ok(read)
    }

    /// Reads a graph of a model folder, which then has no other form.
    ///
    /// # Errors
    /// [`Error::Model`] if its files are not those of the manifest.
    pub(crate) fn unchanged(folder: &ModelFolder, graph: &str) -> Result<ReadGraph> {
        Ok(ReadGraph { graph: folder.listed().graph(graph)?, floats: None })
    }

    /// The graph, if it may have another form.
    pub(crate) fn changeable(&self, options: &SessionOptions) -> Option<&Arc<[u8]>> {
        match &self.graph.storage {
            GraphStorage::Memory(bytes, files) if files.is_empty() && options.device == Device::Cpu => Some(bytes),
            _ => None,
        }
    }
}

/// ONNX Runtime's library and its environment. There is one for the process.
///
/// Its telemetry is off. Some builds open their database of events before that can be said: a program that embeds descry
/// keeps them from it by setting `ORT_DISABLE_TELEMETRY=1` before it starts, as descry's own program does.
pub struct Runtime {
    environment: Environment,
    library: PathBuf,
}

static RUNTIME: OnceLock<Runtime> = OnceLock::new();
static LOADING: Mutex<()> = Mutex::new(());

impl Runtime {
    /// Loads the library at the first call; later calls return the same one.
    ///
    /// # Errors
    /// [`Error::Runtime`] if the library is not found, has the wrong version or does not start.
    pub fn load() -> Result<&'static Runtime> {
        if let Some(runtime) = RUNTIME.get() {
            return Ok(runtime);
        }
        let _one_at_a_time = LOADING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(runtime) = RUNTIME.get() {
            return Ok(runtime);
        }
        let (builder, library) = library::open()?;
        let environment = builder.with_name("descry").with_telemetry(false).build().map_err(|e| {
            Error::runtime(format!("{} does not start: {e}", library.display()), remedy()).with_source(e)
        })?;
        // A failure comes back as an error with its text; the library's own log would only repeat it.
        environment.set_log_level(ort::logging::LogLevel::Fatal);
        Ok(RUNTIME.get_or_init(|| Runtime { environment, library }))
    }

    /// The library's path, or the name that the system's loader found it by.
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// The library's description of its build, including its version.
    pub fn build_info(&self) -> &'static str {
        ort::info()
    }

    /// Builds the session of a graph in a model folder.
    pub(crate) fn session(&self, folder: &ModelFolder, graph: &str, options: &SessionOptions) -> Result<Session> {
        self.session_of_read(folder, ReadGraph::of(folder, graph, options)?, options)
    }

    /// Builds the session of a graph that was read.
    pub(crate) fn session_of_read(
        &self,
        folder: &ModelFolder,
        read: ReadGraph,
        options: &SessionOptions,
    ) -> Result<Session> {
        let ReadGraph { graph, floats } = read;
        // Where ONNX Runtime does not take floats so, it makes them itself.
        let of_floats = floats.and_then(|floats| {
            let session = self.session_of_floats(floats, options);
            session.inspect_err(|e| loaded_as_it_is(&graph.name, e)).ok()
        });
        let wrong = |cause| folder.error(cause, "Make the model folder again.");
        of_floats.map_or_else(|| self.session_of_graph((&graph, None), Preparation::Full, options, wrong), Ok)
    }

    /// Builds the session of a graph whose weights became floats.
    pub(crate) fn session_of_floats(&self, graph: FloatGraph, options: &SessionOptions) -> Result<Session> {
        let FloatGraph { bytes, constants } = graph;
        let mut builder = self.builder(Preparation::Full, options)?;
        for (name, dims, values) in constants {
            let value = match values {
                WeightValues::Floats(values) => Tensor::from_array((dims, values)).map(Tensor::into_dyn),
                WeightValues::Signed(values) => Tensor::from_array((dims, values)).map(Tensor::into_dyn),
                WeightValues::Unsigned(values) => Tensor::from_array((dims, values)).map(Tensor::into_dyn),
            };
            let value = value.map_err(refused_option)?;
            builder = builder.with_external_initializer(name, value).map_err(|e| refused_option(e.into()))?;
        }
        builder.commit_from_memory(&bytes).map_err(refused_option)
    }

    /// Builds the session of a graph, or of what it has become if it was rewritten: that takes weights from the graph's own
    /// file. `wrong` makes the error for a graph that ONNX Runtime refuses.
    pub(crate) fn session_of_graph(
        &self,
        (graph, rewritten): (&VerifiedGraph, Option<&[u8]>),
        preparation: Preparation,
        options: &SessionOptions,
        wrong: impl FnOnce(String) -> Error,
    ) -> Result<Session> {
        let refused = |e: ort::Error<SessionBuilder>| refused_option(e.into());
        let mut builder = self.builder(preparation, options)?;
        let session = match &graph.storage {
            GraphStorage::Memory(bytes, weights) => {
                let own = rewritten.map(|_| (graph.file().to_string(), bytes.clone()));
                for (file, bytes) in weights.iter().cloned().chain(own) {
                    builder = builder.with_external_initializer_file_in_memory(file, bytes).map_err(refused)?;
                }
                builder.commit_from_memory(rewritten.unwrap_or(bytes))
            }
            GraphStorage::Private(dir, _) => match rewritten {
                Some(bytes) => {
                    let dir = dir.path().display().to_string();
                    let mut builder = builder.with_config_entry(EXTERNAL_WEIGHTS, dir).map_err(refused)?;
                    builder.commit_from_memory(bytes)
                }
                None => builder.commit_from_file(dir.path().join(graph.file())),
            },
        };
        session.map_err(|e| refused_graph(&graph.name, options.device, wrong, e))
    }

    /// Builds the session of a graph that was made in memory.
    pub(crate) fn session_of(
        &self,
        model: ort::editor::Model,
        name: &str,
        options: &SessionOptions,
    ) -> Result<Session> {
        model.into_session(&self.builder(Preparation::Full, options)?).map_err(|e| cannot_run(name, options.device, e))
    }

    /// Builds the session of a graph that is part of the program.
    pub(crate) fn session_of_bytes(&self, graph: &[u8], name: &str, options: &SessionOptions) -> Result<Session> {
        self.builder(Preparation::Full, options)?
            .commit_from_memory(graph)
            .map_err(|e| cannot_run(name, options.device, e))
    }

    pub(super) fn builder(&self, preparation: Preparation, options: &SessionOptions) -> Result<SessionBuilder> {
        let level = match preparation {
            Preparation::Full => GraphOptimizationLevel::All,
            Preparation::Packed | Preparation::None => GraphOptimizationLevel::Disable,
        };
        let failed = |e: ort::Error<SessionBuilder>| refused_option(e.into());
        let mut builder = Session::builder(&self.environment)
            .map_err(refused_option)?
            .with_optimization_level(level)
            .map_err(failed)?
            .with_prepacking(preparation != Preparation::None)
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
        if let Some(provider) = options.device.provider()? {
            let absent = |e: ort::Error<SessionBuilder>| {
                let e: ort::Error = e.into();
                absent_device(options.device, &e.to_string()).with_source(e)
            };
            builder = builder.with_execution_providers([provider.error_on_failure()]).map_err(absent)?;
        }
        builder
            .with_execution_providers([ep::CPU::default().with_arena_allocator(options.arena).build()])
            .map_err(failed)
    }
}

pub(super) fn loaded_as_it_is(graph: &str, e: &Error) {
    tracing::debug!("{graph} is loaded as it is: {e}");
}

pub(super) fn refused_option(e: ort::Error) -> Error {
    Error::runtime(format!("session options: {e}"), remedy()).with_source(e)
}

fn refused_graph(graph: &str, device: Device, wrong: impl FnOnce(String) -> Error, e: ort::Error) -> Error {
    if device == Device::Cpu {
        wrong(format!("{graph} is not a graph that ONNX Runtime can run: {e}")).with_source(e)
    } else {
        cannot_run(graph, device, e)
    }
}

/// The build has the device's feature; what is missing is in the library, or in what that needs.
fn absent_device(device: Device, why: &str) -> Error {
    let remedy = message![
        "Set ",
        Setting::Device,
        " to cpu, or name an ONNX Runtime that has this device with DESCRY_ONNXRUNTIME, and install the device's driver \
         and libraries where the system finds them."
    ];
    Error::runtime(format!("the device {device} was requested and is not available: {}", why.trim()), remedy)
}

fn cannot_run(graph: &str, device: Device, e: ort::Error) -> Error {
    let remedy = message!["Set ", Setting::Device, " to cpu."];
    Error::runtime(format!("{graph} cannot run on {device}: {e}"), remedy).with_source(e)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ONNX Runtime ends some of its messages with a line break.
    #[test]
    fn an_absent_device_has_its_cause_in_one_line() {
        let missing = "libonnxruntime_providers_cuda.so: libcublasLt.so.13: cannot open shared object file";
        let error = absent_device(Device::Cuda(1), &format!("{missing}\n"));
        assert!(matches!(error, Error::Runtime { .. }));
        let text = error.to_string();
        assert!(text.contains("cuda:1") && text.contains(missing) && !text.ends_with('\n'), "{text:?}");
        assert!(!text.contains("\n\n"), "{text:?}");
    }
}
