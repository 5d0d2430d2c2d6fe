//! Indexing: describes many videos into an archive, each once.
//!
//! ```text
//! sources ── names and fingerprints ─→ plan ── videos to describe ─→ run ─→ pipeline
//!                                                                      keyframes │ descriptions, bounded
//!                                                                             storing (one thread)
//! ```
//!
//! [`list_sources`] names the videos and [`plan()`] compares them with the archive's records, by names alone. [`IndexJob`]
//! claims a video when its turn comes and commits it when it ends. So any number of processes may share an archive, and one
//! that is killed loses only the videos it was working on. Videos that another process has claimed are checked again at the
//! end. An error in one video stops no other; an archive that cannot be written ends the job.
//!
//! Memory: the names of the job, and 32 keyframes between the pipeline and the store.
//!
//! # Example
//!
//! ```
//! # fn main() -> descry::error::Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let location = folder.path().join("archive").display().to_string();
//! # let model = "tests/models/tiny";
//! use std::sync::Arc;
//! use descry::archive::Archive;
//! use descry::archive::index::{IndexJob, NetworkSources, PlanOptions, list_sources, plan, recipe};
//! use descry::interrupt::Interrupt;
//! use descry::model::ModelFolder;
//! use descry::pipeline::{Config, Model, Silent};
//!
//! let archive = Archive::create(&location)?;
//! let folder = ModelFolder::load(Some(model))?;
//! let load = || Model::of(&folder.clone().into(), Default::default());
//! let config = Config::default();
//! let interrupt = Interrupt::new();
//!
//! let network = NetworkSources::new(&config.decode, interrupt.clone());
//! let listing = list_sources(&["samples/bikes.mp4".into()], archive.folder(), &network, &interrupt)?;
//! let recipe = Arc::new(recipe(&folder, &config, &load()?.decoding));
//! let plan = plan(&archive, &listing.videos, &recipe, &PlanOptions::default())?;
//! let job = IndexJob {
//!     archive: &archive,
//!     videos: &plan.videos,
//!     config: &config,
//!     model: &load,
//!     interrupt: &interrupt,
//!     observer: &Silent,
//! };
//! job.run()?;
//! assert_eq!(archive.record_names()?.len(), 1);
//! # Ok(())
//! # }
//! ```

mod job;
mod observer;
mod plan;
mod progress;
mod remote;
mod run;
mod sources;
mod storing;

pub use job::{DescribeRequest, DescribeVideos, IndexJob};
pub use observer::IndexObserver;
pub use plan::{IndexPlan, PlanOptions, PlannedVideo, Shard, plan, prune, recipe};
pub use progress::{IndexProgress, ProgressReport};
pub use remote::NetworkSources;
pub use sources::{RemoteSources, SourceListing, SourceVideo, VIDEO_EXTENSIONS, file_fingerprint, list_sources};
