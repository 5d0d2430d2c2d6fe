//! `descry review`: people check and correct descriptions in the browser.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::Router;
use clap::Args;

use super::args::DescriptionArgs;
use super::describe::describe_film;
use super::isolate_args::IsolateDefaults;
use super::reporter::{Reporter, count};
use super::stdout::{print_json, print_line};
use super::voice_args::CueVoiceArgs;
use crate::address::Address;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::Dialogue;
use crate::message::Setting;
use crate::model::{Model, ModelOptions, Models};
use crate::pipeline::Config;
use crate::review::{
    CaptionCounts, CaptionExport, CueVoice, FilmFacts, FilmTimeline, FrameDescriber, ReviewDocument, ReviewFile,
    ReviewFilm, ReviewMachines, ReviewSession, ReviewSite, WarningRules, review_path,
};
use crate::serve::{BodyLimits, ContentPolicy, HttpOptions, ServeLimits, Site, WebServer};
use crate::track::formats::file_name;

const EXAMPLES: &str = "\
Examples:
  descry review film.mp4                    Describe a film, and correct its descriptions in the browser
  descry review film.mp4 film.vtt           Correct somebody else's descriptions
  descry review film.mp4 --report           Print how much was changed
  descry review archive/                    Correct the films of an archive, least certain first
  descry review archive/ --export-captions captions  Write what was checked as training data";

/// Where the page is, if the user names no other place.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8090);
/// Largest edit, in bytes: a replacement in all cues of a long film.
const LARGEST_EDIT: usize = 4 << 20;
/// How often the end of the program is looked for: a flag has nothing that a thread could wait for.
const LOOK: Duration = Duration::from_millis(50);

/// Opens a film to look at frames of it.
pub(super) type FilmReader = Box<dyn Fn(&Address, &Interrupt) -> Result<ReviewFilm>>;

/// Check and correct descriptions in the browser
///
/// descry opens a page on this machine: the film, its scenes, speech and pauses, and its cues, which can be edited. Everything
/// is saved at once, in film.review.json beside the film. A film without descriptions is described first. Of an archive, the
/// page lists the films; their reviews are kept in the archive, where 'descry search' finds what they say.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ReviewArgs {
    /// Film: a file or URL (http, https, s3); or the folder of an archive
    #[arg(value_name = "FILM")]
    pub(super) film: Address,
    /// Descriptions that somebody has made: WebVTT, SubRip or ASS [default: descry describes the film]
    #[arg(value_name = "TRACK")]
    pub(super) track: Option<PathBuf>,
    /// File that keeps the review [default: film.review.json beside the film]
    ///
    /// Of an archive: a folder that exists, for reviews that are not to be in the archive.
    #[arg(long, value_name = "FILE", help_heading = "Review")]
    pub(super) review: Option<PathBuf>,
    /// Address of the page
    ///
    /// Only this machine can read it.
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = LISTEN, help_heading = "Review")]
    listen: SocketAddr,
    /// Do not open the page in a browser
    #[arg(long, help_heading = "Review")]
    no_open: bool,
    /// Print how much was changed, as JSON, and end
    #[arg(long, conflicts_with_all = ["track", "no_open", "listen"], help_heading = "Review")]
    pub(super) report: bool,
    /// Write what editors wrote or checked, with its pictures, as training data for tools/models.py, and end
    ///
    /// The folder must not hold captions yet.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["track", "no_open", "listen", "report"], help_heading = "Review")]
    pub(super) export_captions: Option<PathBuf>,
    #[command(flatten)]
    pub(super) voice: CueVoiceArgs,
    #[command(flatten)]
    pub(super) description: DescriptionArgs,
}

/// Models, their options, and how films are described.
pub(super) struct DescribeSetup {
    pub(super) models: Models,
    pub(super) options: ModelOptions,
    pub(super) config: Config,
}

pub(super) fn run(args: &ReviewArgs, reporter: &Reporter, interrupt: &Interrupt) -> Result<()> {
    let path = args.review_path()?;
    if args.report {
        return report(&path);
    }
    args.description.check(1)?;
    // What is wrong with a voice is known before a film is described.
    args.voice.options("en")?;
    if let Some(folder) = &args.export_captions {
        return args.export(&path, folder, reporter, interrupt);
    }
    args.check_listen()?;
    let (file, known) = ReviewFile::open(&path)?;
    if let (Some(track), Some(_)) = (&args.track, &known) {
        let cause = format!("there is a review of this film, which {} would not change", track.display());
        let remedy = "Leave the track out to go on with it, or name another file with --review <FILE>.";
        return Err(Error::output(path.display().to_string(), cause, remedy));
    }
    let DescribeSetup { models, options, config } = args.setup(reporter)?;
    let film = ReviewFilm::open(&args.film, config.decode.clone(), config.isolation.clone(), interrupt.clone())?;
    let document = match known {
        Some(document) => document,
        None => args.new_document(&film, (&models, &options, &config), reporter, interrupt)?,
    };
    reporter.info(&format!("{}: {}", path.display(), count(document.cues.len(), "cue")));
    let voice = args.voice.options(&document.language)?;
    let voice = voice.map(|voice| CueVoice::new(&voice, interrupt)).transpose()?;
    let session = Arc::new(ReviewSession::start(file, document, WarningRules::default())?);
    let describer = FrameDescriber::start(film.clone(), models, options, config.bars)?;
    let machines = ReviewMachines { describer: Some(describer), voice };
    let site = Arc::new(ReviewSite::new(session.clone(), film, machines, interrupt.clone()));
    let sound = site.clone().start_listening();
    args.serve(site.router(), reporter, interrupt, || ())?;
    if let Some(sound) = sound {
        let _ = sound.join();
    }
    session.finish()
}

/// What there is to do about a film without a review.
pub(super) fn no_review(path: &Path) -> Error {
    Error::input(path.display().to_string(), "no such file", "Review the film first: descry review FILM.")
}

/// Prints what editors did.
fn report(path: &Path) -> Result<()> {
    let document = ReviewFile::read_only(path)?.ok_or_else(|| no_review(path))?;
    let value = serde_json::to_value(document.report()).map_err(std::io::Error::from);
    print_json(&value.map_err(|e| Error::read(path.display().to_string(), &e))?).map(drop)
}

impl ReviewArgs {
    /// Whether it is an archive that is to be reviewed.
    pub(super) fn is_archive(&self) -> bool {
        !self.film.is_url() && Path::new(self.film.reveal()).is_dir()
    }

    /// What descriptions are made with.
    pub(super) fn setup(&self, reporter: &Reporter) -> Result<DescribeSetup> {
        let models = self.description.content.model.load()?;
        let mut config = self.description.config(&models)?;
        config.isolation = self.description.isolation(&IsolateDefaults::FEW, reporter)?.map(|(isolation, _)| isolation);
        let options = self.description.model_options(&models)?;
        Ok(DescribeSetup { models, options, config })
    }

    /// Everybody who can reach the page can change the descriptions.
    pub(super) fn check_listen(&self) -> Result<()> {
        if self.listen.ip().is_loopback() {
            return Ok(());
        }
        let cause = format!("--listen {}: other machines could change descriptions", self.listen);
        Err(Error::usage(cause, "Listen on 127.0.0.1, and let others in by an SSH tunnel."))
    }

    /// Opens films to look at frames of them.
    pub(super) fn films(&self, reporter: &Reporter) -> Result<FilmReader> {
        let decode = self.description.decode_options()?;
        let isolation = self.description.isolation(&IsolateDefaults::FEW, reporter)?.map(|(isolation, _)| isolation);
        Ok(Box::new(move |film, interrupt| {
            ReviewFilm::open(film, decode.clone(), isolation.clone(), interrupt.clone())
        }))
    }

    /// Writes what editors wrote or checked.
    fn export(&self, path: &Path, folder: &Path, reporter: &Reporter, interrupt: &Interrupt) -> Result<()> {
        let review = ReviewFile::outline(path)?.ok_or_else(|| no_review(path))?;
        let film = self.films(reporter)?(&self.film, interrupt)?;
        let mut captions = CaptionExport::create(folder)?;
        captions.add(&film, &review, interrupt)?;
        report_captions(captions.finish(&path.display().to_string())?, folder, reporter);
        Ok(())
    }

    fn review_path(&self) -> Result<PathBuf> {
        if let Some(path) = &self.review {
            return Ok(path.clone());
        }
        if self.film.is_url() {
            let cause = format!("{}: descry cannot keep a review beside it", self.film);
            return Err(Error::usage(cause, "Name a file with --review <FILE>."));
        }
        Ok(review_path(Path::new(self.film.reveal())))
    }

    /// A document that nobody has edited: what descry says of the film, or the user's track with what descry knows of it.
    fn new_document(
        &self,
        film: &ReviewFilm,
        (models, options, config): (&Models, &ModelOptions, &Config),
        reporter: &Reporter,
        interrupt: &Interrupt,
    ) -> Result<ReviewDocument> {
        // What is wrong with it is known before the film is read.
        let dialogue =
            self.track.as_deref().map(|track| Dialogue::read(track).map(|read| (track, read))).transpose()?;
        let model = Model::of(models, options.clone())?;
        let described = describe_film(&self.film, config, model, reporter, interrupt)?;
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let facts = FilmFacts { name: file_name(&self.film.shown()).into(), duration: film.duration() };
        match dialogue {
            Some((track, dialogue)) => {
                ReviewDocument::of_dialogue(&dialogue, &name(track), facts, "en", FilmTimeline::of(&described))
            }
            None => ReviewDocument::of_track(&described, facts),
        }
    }

    /// Serves pages until the program is to end, and calls `tick` again and again meanwhile.
    pub(super) fn serve(
        &self,
        router: Router,
        reporter: &Reporter,
        interrupt: &Interrupt,
        tick: impl Fn(),
    ) -> Result<()> {
        let limits = ServeLimits {
            idle_time: Some(Duration::from_secs(60)),
            bodies: Some(BodyLimits { bytes: LARGEST_EDIT, time: Duration::from_secs(10) }),
            answer_time: Duration::from_secs(300),
            ..ServeLimits::default()
        };
        let content = ContentPolicy::Player;
        let served = Site { router, counters: Arc::new(()), limits, content };
        let options = HttpOptions { listen: self.listen, token: None };
        let server = WebServer::start(&options, Setting::Listen, served)?;
        let page = format!("http://{}/", server.address());
        print_line(&page)?;
        reporter.note("Open this page in a browser. Ctrl-C ends the review.");
        if !self.no_open {
            open_page(&page);
        }
        while !interrupt.is_set() {
            tick();
            thread::sleep(LOOK);
        }
        drop(server);
        Ok(())
    }
}

/// Reports what was written as training data.
pub(super) fn report_captions(counts: CaptionCounts, folder: &Path, reporter: &Reporter) {
    let text = format!(
        "{} on {} written to {}",
        count(counts.captions, "caption"),
        count(counts.pictures, "picture"),
        folder.display()
    );
    reporter.summary(&text, &serde_json::json!(counts));
}

/// Opens the page where there is a desktop.
fn open_page(page: &str) {
    let has_desktop = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
    if has_desktop {
        let quiet = || Stdio::null();
        let _ = Command::new("xdg-open").arg(page).stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn();
    }
}
