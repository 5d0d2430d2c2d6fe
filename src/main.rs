//! The descry program: everything is in the library.

use std::io::Write;

fn main() {
    // ONNX Runtime collects telemetry in a database below the home folder and sends it to its maker. A program that
    // describes people's films must not, and the library decides as soon as it is loaded.
    // SAFETY: this is the first statement of the program, so no other thread reads the environment.
    unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") };
    let exit = descry::cli::main();
    // What prints looks at the errors of each line; this is for what has no end of line.
    let _ = std::io::stdout().flush();
    exit.leave()
}
