//! Chat templates of models, rendered where they can neither fill the memory nor run for ever.
//!
//! A template is a program of the people who made the model. `minijinja` runs it without access to anything but the values
//! that it is given, and its fuel bounds the number of steps. But a step that joins two texts doubles one, so 40 steps make
//! a terabyte, and nothing in `minijinja` bounds that. The system does: a child process renders one template, with a limit on
//! its memory (where the system enforces one, as Linux does) and on its time, in the sandbox of a decoder.
//!
//! The child is this program itself, if its `main` has asked [`is_asked_for`](super::is_asked_for). Any other program renders
//! in its own process, within the limits on steps and output alone.

use std::io::{self, Write};

use minijinja::Environment;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most steps of a template: real ones take a few hundred.
const FUEL: u64 = 1_000_000;
/// Longest text in bytes. A context has room for a tenth of it.
const LONGEST: usize = 4 << 20;
/// Longest cause of a failure in characters: a template may write its own.
const CAUSE: usize = 600;

/// A template and its values, as they go to a child.
#[derive(Serialize, Deserialize)]
struct TemplateRequest {
    template: String,
    values: Value,
}

/// The text that a template makes of some values.
///
/// # Errors
/// The cause, to follow the name of the template: it "cannot be rendered", or takes too much.
pub(crate) fn render_template(template: &str, values: Value) -> Result<String, String> {
    let request = TemplateRequest { template: template.into(), values };
    #[cfg(unix)]
    if super::task::can_be_asked_for() {
        return apart::render(&request);
    }
    request.render()
}

/// What a template writes, up to [`LONGEST`] bytes.
#[derive(Default)]
struct PromptText(Vec<u8>);

impl Write for PromptText {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LONGEST {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it makes more than {LONGEST} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TemplateRequest {
    /// Renders in this process.
    fn render(&self) -> Result<String, String> {
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<String, minijinja::Error> {
            Err(minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, message))
        });
        let mut text = PromptText::default();
        environment
            .template_from_str(&self.template)
            .and_then(|template| template.render_captured_to(&self.values, &mut text).map(drop))
            .map_err(|e| format!("cannot be rendered: {e}").chars().take(CAUSE).collect::<String>())?;
        Ok(String::from_utf8_lossy(&text.0).into_owned())
    }
}

#[cfg(unix)]
pub(super) use apart::serve;

#[cfg(unix)]
mod apart {
    use std::io::{self, Read, Write};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, ExitStatus, Stdio};

    use nix::sys::signal::Signal;

    use super::{CAUSE, LONGEST, TemplateRequest};
    use crate::isolate::options::Isolation;
    use crate::isolate::process::descry;
    use crate::isolate::sandbox::{Needs, enter};
    use crate::isolate::task::{RENDER, prepare};

    /// Megabytes that a child may take: some 20 for the program and its libraries, and a prompt takes less than one.
    const MEMORY_MB: u64 = 256;
    /// Seconds that it may take: a prompt takes milliseconds.
    const SECONDS: u32 = 10;
    /// Longest request in bytes.
    const LONGEST_REQUEST: u64 = 64 << 20;
    /// What comes before a text, and before the cause of a failure.
    const TEXT: u8 = b'+';
    const FAILURE: u8 = b'-';

    /// Renders in a child.
    pub(super) fn render(request: &TemplateRequest) -> Result<String, String> {
        let program = Isolation::of_this_program().map_err(|e| format!("cannot be rendered: {e}"))?.program;
        let failed = |e: io::Error| format!("cannot be rendered: {} does not start: {e}", program.display());
        let mut command = descry(&program, RENDER);
        let (reply, status) = ask(&mut command, request).map_err(failed)?;
        match reply.split_first() {
            Some((&TEXT, text)) if text.len() <= LONGEST && status.success() => {
                Ok(String::from_utf8_lossy(text).into_owned())
            }
            Some((&FAILURE, cause)) if status.success() => {
                Err(String::from_utf8_lossy(cause).chars().take(CAUSE).collect())
            }
            _ => Err(end(status)),
        }
    }

    /// Starts a child, and returns what it replies and how it ended.
    fn ask(command: &mut Command, request: &TemplateRequest) -> io::Result<(Vec<u8>, ExitStatus)> {
        let request = serde_json::to_vec(request)?;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut reply = Vec::new();
        // A child that ends early says why by how it ended.
        if let Some(mut requests) = child.stdin.take() {
            let _ = requests.write_all(&request);
        }
        if let Some(replies) = child.stdout.take() {
            let _ = replies.take(LONGEST as u64 + 2).read_to_end(&mut reply);
        }
        // Its alarm ends it, whatever it does.
        Ok((reply, child.wait()?))
    }

    /// What a template has done, by how its process ended.
    fn end(status: ExitStatus) -> String {
        match status.signal().map(Signal::try_from) {
            // An allocation that fails.
            Some(Ok(Signal::SIGABRT)) => format!("takes more than {MEMORY_MB} MB of memory"),
            Some(Ok(Signal::SIGALRM)) => format!("takes longer than {SECONDS} s"),
            Some(Ok(signal)) => format!("ends its process ({signal})"),
            _ => format!("fails ({status})"),
        }
    }

    /// The child: renders the template that its parent sends.
    pub(in crate::isolate) fn serve() -> io::Result<()> {
        prepare();
        nix::unistd::alarm::set(SECONDS);
        enter(&Needs { memory_mb: MEMORY_MB, ..Needs::default() });
        let mut request = Vec::new();
        io::stdin().take(LONGEST_REQUEST).read_to_end(&mut request)?;
        let request: TemplateRequest = serde_json::from_slice(&request)?;
        let (kind, text) = match request.render() {
            Ok(text) => (TEXT, text),
            Err(cause) => (FAILURE, cause),
        };
        let mut out = io::stdout();
        out.write_all(&[kind])?;
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_template_writes_no_endless_prompt() {
        let template = "{% set x = 'a' * 100000 %}{% for i in range(9999) %}{{ x }}{% endfor %}";
        let cause = render_template(template, json!({})).unwrap_err();
        assert!(cause.starts_with("cannot be rendered"), "{cause}");
        let within = template.replace("9999", "40");
        assert_eq!(render_template(&within, json!({})).unwrap().len(), 4_000_000);
    }

    #[test]
    fn a_template_does_not_take_endless_steps() {
        let cause = render_template(
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
            json!({}),
        )
        .unwrap_err();
        assert!(cause.contains("fuel"), "{cause}");
    }

    #[test]
    fn a_template_refuses_with_few_words() {
        let cause = render_template("{{ raise_exception('no' * 5000) }}", json!({})).unwrap_err();
        assert!(cause.contains("nono") && cause.len() <= CAUSE, "{cause}");
    }
}
