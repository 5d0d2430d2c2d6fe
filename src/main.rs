//! The descry program: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // ONNX Runtime collects telemetry in a database below the home folder and sends it to its maker. A program that
    // describes people's films must not, and the library decides as soon as it is loaded.
    // SAFETY: this is the first statement of the program, so no other thread reads the environment.
    unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") };
    descry::cli::main().into()
}
