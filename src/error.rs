//! What can go wrong, by cause.
//!
//! A message names the thing (file, folder, option), the cause, and on a second line what to do about it. I/O errors are
//! explained here and nowhere else: [`Error::read`] and [`Error::write`].

use std::any::Any;
use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use crate::address::hide;
use crate::message;
use crate::message::{Message, Setting};
use crate::printable::printable;

/// A result whose error is [`Error`] unless it says otherwise.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The error underneath, where there is one. Shared, because an [`Error`] can be cloned.
pub type ErrorSource = Arc<dyn std::error::Error + Send + Sync>;

/// An error by cause. `Display` gives the whole message for a person, and names settings as the library does.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Error {
    /// One input cannot be read or described. The other inputs are still described.
    Input {
        /// Name of the input, without credentials.
        input: String,
        /// What is wrong.
        cause: Message,
        /// What to do about it.
        remedy: Message,
        /// The error underneath.
        source: Option<ErrorSource>,
    },
    /// An output cannot be written. The other inputs are still described.
    Output {
        /// Name of the output, without credentials.
        output: String,
        /// What is wrong.
        cause: Message,
        /// What to do about it.
        remedy: Message,
        /// The error underneath.
        source: Option<ErrorSource>,
    },
    /// A model folder is missing, wrong, truncated or changed.
    Model {
        /// The model's folder.
        folder: String,
        /// What is wrong.
        cause: Message,
        /// What to do about it.
        remedy: Message,
        /// The error underneath.
        source: Option<ErrorSource>,
    },
    /// The ONNX Runtime library or an execution provider is missing, wrong or failed.
    Runtime {
        /// What is wrong.
        cause: Message,
        /// What to do about it.
        remedy: Message,
        /// The error underneath.
        source: Option<ErrorSource>,
    },
    /// A server of models cannot be used, or failed.
    Server {
        /// Address of the server, without credentials.
        server: String,
        /// What is wrong.
        cause: Message,
        /// What to do about it.
        remedy: Message,
        /// Whether the same request may succeed later: the server is down, busy or has failed. What it refuses is refused
        /// for good.
        temporary: bool,
        /// The error underneath.
        source: Option<ErrorSource>,
    },
    /// Options that contradict each other, or a value out of range.
    Usage {
        /// What is wrong.
        cause: Message,
        /// What to do about it.
        remedy: Message,
        /// The error underneath.
        source: Option<ErrorSource>,
    },
    /// The model failed or hung in the middle of live work. A restart may help.
    Broken {
        /// What is wrong.
        cause: Message,
        /// What to do about it.
        remedy: Message,
        /// The error underneath.
        source: Option<ErrorSource>,
    },
    /// The user stopped the work.
    Interrupted,
}

impl Error {
    /// An input that cannot be read or described.
    pub fn input(input: impl Into<String>, cause: impl Into<Message>, remedy: impl Into<Message>) -> Error {
        Error::Input { input: input.into(), cause: cause.into(), remedy: remedy.into(), source: None }
    }

    /// An output that cannot be written.
    pub fn output(output: impl Into<String>, cause: impl Into<Message>, remedy: impl Into<Message>) -> Error {
        Error::Output { output: output.into(), cause: cause.into(), remedy: remedy.into(), source: None }
    }

    /// A model folder that cannot be used.
    pub fn model(folder: impl Into<String>, cause: impl Into<Message>, remedy: impl Into<Message>) -> Error {
        Error::Model { folder: folder.into(), cause: cause.into(), remedy: remedy.into(), source: None }
    }

    /// ONNX Runtime or a device that cannot be used.
    pub fn runtime(cause: impl Into<Message>, remedy: impl Into<Message>) -> Error {
        Error::Runtime { cause: cause.into(), remedy: remedy.into(), source: None }
    }

    /// A server of models that cannot be used. It counts as temporary only after [`Error::for_now`].
    pub fn server(server: impl Into<String>, cause: impl Into<Message>, remedy: impl Into<Message>) -> Error {
        Error::Server {
            server: server.into(),
            cause: cause.into(),
            remedy: remedy.into(),
            temporary: false,
            source: None,
        }
    }

    /// Options that cannot be.
    pub fn usage(cause: impl Into<Message>, remedy: impl Into<Message>) -> Error {
        Error::Usage { cause: cause.into(), remedy: remedy.into(), source: None }
    }

    /// Live work that cannot continue.
    pub fn broken(cause: impl Into<Message>, remedy: impl Into<Message>) -> Error {
        Error::Broken { cause: cause.into(), remedy: remedy.into(), source: None }
    }

    /// Explains why a file or folder cannot be read.
    pub fn read(name: impl Into<String>, e: &io::Error) -> Error {
        let (cause, remedy): (Message, &str) = match e.kind() {
            ErrorKind::NotFound => ("no such file".into(), "Check the path."),
            ErrorKind::PermissionDenied => {
                ("permission denied".into(), "Make the file and its folders readable for this user.")
            }
            ErrorKind::Unsupported => {
                (format!("cannot be read: {e}").into(), "Write what it gives to a file first, and name that.")
            }
            _ => (format!("cannot be read: {e}").into(), "Check the path and the disk."),
        };
        Error::input(name, cause, remedy).with_io(e)
    }

    /// Explains why something cannot be written. `place` is the setting that names another place for it.
    pub fn write(name: impl Into<String>, e: &io::Error, place: Setting) -> Error {
        let (cause, remedy): (Message, Message) = match e.kind() {
            _ if is_disk_full(e) => ("the disk is full".into(), "Free some space and run again.".into()),
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => (
                format!("cannot be written: {e}").into(),
                message!["Choose a place that this user may write, with ", place, "."],
            ),
            ErrorKind::InvalidFilename => {
                ("its name is too long".into(), message!["Give a shorter name with ", place, "."])
            }
            ErrorKind::NotFound => ("its folder does not exist".into(), "Create the folder first.".into()),
            _ => (format!("cannot be written: {e}").into(), message!["Choose another place with ", place, "."]),
        };
        Error::output(name, cause, remedy).with_io(e)
    }

    /// The same error with the one underneath it. If that one's words hold credentials, only the other words are kept.
    #[must_use]
    pub fn with_source(mut self, e: impl std::error::Error + Send + Sync + 'static) -> Error {
        if let Some(source) = self.source_mut() {
            let (words, all) = (e.to_string(), format!("{e} {e:?}"));
            let hides = hide(&all) != all;
            *source = Some(if hides { Arc::new(io::Error::other(hide(&words))) } else { Arc::new(e) });
        }
        self
    }

    /// The same error of a server, marked as temporary.
    #[must_use]
    pub fn for_now(mut self) -> Error {
        if let Error::Server { temporary, .. } = &mut self {
            *temporary = true;
        }
        self
    }

    /// Whether the same work may succeed later without any change. Live mode then drops a keyframe and goes on.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Error::Server { temporary: true, .. })
    }

    /// An I/O error cannot be cloned: its kind and its text are kept.
    fn with_io(self, e: &io::Error) -> Error {
        self.with_source(io::Error::new(e.kind(), e.to_string()))
    }

    /// The same error with another remedy.
    #[must_use]
    pub fn with_remedy(mut self, words: impl Into<Message>) -> Error {
        match &mut self {
            Error::Input { remedy, .. }
            | Error::Output { remedy, .. }
            | Error::Model { remedy, .. }
            | Error::Runtime { remedy, .. }
            | Error::Server { remedy, .. }
            | Error::Usage { remedy, .. }
            | Error::Broken { remedy, .. } => *remedy = words.into(),
            Error::Interrupted => {}
        }
        self
    }

    /// The same error, with the place to which it belongs before it.
    #[must_use]
    pub(crate) fn at(mut self, place: &str) -> Error {
        match &mut self {
            Error::Input { input: about, .. }
            | Error::Output { output: about, .. }
            | Error::Model { folder: about, .. }
            | Error::Server { server: about, .. } => *about = format!("{place}: {about}"),
            Error::Runtime { cause, .. } | Error::Usage { cause, .. } | Error::Broken { cause, .. } => {
                *cause = Message::from(format!("{place}: ")).and(std::mem::take(cause));
            }
            Error::Interrupted => {}
        }
        self
    }

    /// The whole message for a person, with the words of `name` for each setting. Credentials are removed from it, and control
    /// characters escaped.
    pub fn render(&self, name: impl Fn(Setting) -> String) -> String {
        let text = |message: &Message| message.render(&name);
        let about = |name: &str| printable(name).into_owned();
        let message = match self {
            Error::Input { input: name, cause, remedy, .. }
            | Error::Output { output: name, cause, remedy, .. }
            | Error::Server { server: name, cause, remedy, .. } => {
                format!("{}: {}\n  {}", about(name), text(cause), text(remedy))
            }
            Error::Model { folder, cause, remedy, .. } => {
                format!("model {}: {}\n  {}", about(folder), text(cause), text(remedy))
            }
            Error::Runtime { cause, remedy, .. } => format!("ONNX Runtime: {}\n  {}", text(cause), text(remedy)),
            Error::Usage { cause, remedy, .. } | Error::Broken { cause, remedy, .. } => {
                format!("{}\n  {}", text(cause), text(remedy))
            }
            Error::Interrupted => "interrupted".into(),
        };
        hide(&message)
    }

    fn source_mut(&mut self) -> Option<&mut Option<ErrorSource>> {
        match self {
            Error::Input { source, .. }
            | Error::Output { source, .. }
            | Error::Model { source, .. }
            | Error::Runtime { source, .. }
            | Error::Server { source, .. }
            | Error::Usage { source, .. }
            | Error::Broken { source, .. } => Some(source),
            Error::Interrupted => None,
        }
    }
}

/// What a panic says.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_string());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a text".into())
}

/// Names settings as the library does.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(|setting| setting.to_string()))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Input { source, .. }
            | Error::Output { source, .. }
            | Error::Model { source, .. }
            | Error::Runtime { source, .. }
            | Error::Server { source, .. }
            | Error::Usage { source, .. }
            | Error::Broken { source, .. } => source.as_deref().map(|e| e as &(dyn std::error::Error + 'static)),
            Error::Interrupted => None,
        }
    }
}

/// Whether an error means that there is no space left, by any of the names that systems have for it.
pub(crate) fn is_disk_full(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge | ErrorKind::WriteZero
    )
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn io_errors_are_explained_with_cause_remedy_and_source() {
        let denied = io::Error::from(ErrorKind::PermissionDenied);
        let e = Error::write("a.vtt", &denied, Setting::Output);
        assert!(e.to_string().starts_with("a.vtt: cannot be written"), "{e}");
        assert!(e.to_string().contains("`output`"), "{e}");
        assert!(e.render(|_| "-o".into()).ends_with("with -o."), "{e}");
        let source = e.source().and_then(|s| s.downcast_ref::<io::Error>()).map(io::Error::kind);
        assert_eq!(source, Some(ErrorKind::PermissionDenied));
        let full = io::Error::from(ErrorKind::StorageFull);
        assert!(Error::write("a.vtt", &full, Setting::Output).to_string().contains("disk is full"));
        let absent = io::Error::from(ErrorKind::NotFound);
        assert_eq!(Error::read("a.mp4", &absent).to_string(), "a.mp4: no such file\n  Check the path.");
    }

    #[test]
    fn display_is_the_rendering_with_the_librarys_names() {
        let remedy = message!["Raise ", Setting::Timeout, "."];
        let all = [
            Error::input("a", "b", remedy.clone()),
            Error::output("a", "b", remedy.clone()),
            Error::model("a", "b", remedy.clone()),
            Error::runtime("b", remedy.clone()),
            Error::server("a", "b", remedy.clone()),
            Error::usage("b", remedy.clone()),
            Error::broken("b", remedy),
            Error::Interrupted,
        ];
        for e in all {
            assert_eq!(e.to_string(), e.render(|s| s.to_string()));
            assert!(!e.is_temporary());
        }
        assert!(Error::server("a", "b", "c").for_now().with_source(io::Error::other("d")).is_temporary());
        assert!(!Error::usage("b", "c").for_now().is_temporary());
    }
}
