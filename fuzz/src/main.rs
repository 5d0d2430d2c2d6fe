//! Feeds a target. Built by `fuzz/run.sh`, it is libFuzzer, with libFuzzer's arguments, and `DESCRY_FUZZ_TARGET` names the
//! target. Built otherwise, it runs files through a target, once each: `fuzz TARGET FILE…`.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
mod fuzzer {
    use std::sync::LazyLock;

    use descry_fuzz::{LIMIT, MEMORY, Target, coverage, target};
    use nix::sys::signal::{SigHandler, Signal, signal};

    static TARGET: LazyLock<&Target> = LazyLock::new(|| {
        let name = std::env::var("DESCRY_FUZZ_TARGET").expect("DESCRY_FUZZ_TARGET names the target");
        target(&name).expect("DESCRY_FUZZ_TARGET names one of the targets that `seeds list` prints")
    });

    libfuzzer_sys::fuzz_target!(
        init: {
            // The hook of libfuzzer-sys ends the program on each panic, also on one that descry catches and reports. Where
            // a panic is not caught, the program ends all the same.
            drop(std::panic::take_hook());
            // libFuzzer's main does not do what Rust's does: a connection that is gone is an error, and not the end.
            // SAFETY: no handler runs, so nothing can go wrong in one.
            unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) }.expect("a signal that can be ignored");
            MEMORY.set_limit(LIMIT).expect("a limit above what is in use");
            std::sync::LazyLock::force(&TARGET);
            coverage::watch_ffmpeg();
        },
        |data: &[u8]| (TARGET.run)(data)
    );
}

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(target) = arguments.next().and_then(|name| descry_fuzz::target(&name)) else {
        eprintln!("fuzz TARGET FILE…");
        return std::process::ExitCode::from(2);
    };
    descry_fuzz::MEMORY.set_limit(descry_fuzz::LIMIT).expect("a limit above what is in use");
    for file in arguments {
        let Ok(bytes) = std::fs::read(&file) else {
            eprintln!("{file}: cannot be read");
            return std::process::ExitCode::FAILURE;
        };
        let began = std::time::Instant::now();
        (target.run)(&bytes);
        println!(
            "{file}: {:.1} ms, {} kB held",
            began.elapsed().as_secs_f64() * 1e3,
            descry_fuzz::MEMORY.allocated() >> 10
        );
    }
    std::process::ExitCode::SUCCESS
}
