//! The descry program: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    descry::cli::main().into()
}
