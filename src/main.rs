use std::process::ExitCode;

fn main() -> ExitCode {
    descry::cli::main().into()
}
