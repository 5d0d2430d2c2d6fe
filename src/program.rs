//! Programs that the user has descry run: what they inherit and read, and how they are killed.
//!
//! A program gets nothing of descry's that it does not need: of the environment only what [`INHERITED`] and its options
//! name, because the rest may hold keys of clouds and tokens; and no open file but its standard streams. It is never run
//! through a shell.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::process::{Child, Command};

use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;

/// The variables that every program inherits, and `LC_…`: where programs and the user's files are, who the user is, in which
/// language and time zone; and for programs that speak or show a message, how to reach the user's screen, sound and session.
const INHERITED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TERM",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "XAUTHORITY",
    "WAYLAND_DISPLAY",
    "PULSE_SERVER",
    #[cfg(windows)]
    "SYSTEMROOT",
    #[cfg(windows)]
    "COMSPEC",
    #[cfg(windows)]
    "PATHEXT",
    #[cfg(windows)]
    "USERPROFILE",
    #[cfg(windows)]
    "TEMP",
    #[cfg(windows)]
    "TMP",
];

/// What a program inherits of the environment: the variables of [`INHERITED`], and `more`, which `setting` names.
///
/// # Errors
/// When one of `more` does not exist.
pub(crate) fn environment(more: &[String], setting: Setting) -> Result<Vec<(OsString, OsString)>> {
    for name in more {
        // Such names would make `var_os` panic or mean something else.
        if name.is_empty() || name.contains(['=', '\0']) || std::env::var_os(name).is_none() {
            return Err(Error::usage(
                message![format!("the environment variable {name}, which "), setting, " names, does not exist"],
                "Set it before descry starts, or leave it out.",
            ));
        }
    }
    let is_inherited = |name: &OsStr| {
        name.to_str().is_some_and(|n| INHERITED.contains(&n) || n.starts_with("LC_") || more.iter().any(|m| m == n))
    };
    Ok(std::env::vars_os().filter(|(name, _)| is_inherited(name)).collect())
}

/// Bytes of a program's input: what a pipe holds even if nobody reads it, so writing never waits.
const INPUT: usize = 4_096;

/// Gives a program a text on its standard input, with a line feed at its end, and closes that. A longer text loses its end.
pub(crate) fn give_text(child: &mut Child, text: &str) {
    if let Some(mut input) = child.stdin.take() {
        let text = &text[..text.floor_char_boundary(INPUT - 1)];
        // A program need not read it.
        let _ = input.write_all(format!("{text}\n").as_bytes());
    }
}

/// The name of a program, without its folder.
pub(crate) fn file_name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

/// Gives a program a process group of its own, and closes everything but its standard streams when it starts. The files
/// that descry opens are closed anyway, but those of libraries, and of the process that started descry, may not be.
#[cfg(unix)]
pub(crate) fn detach(process: &mut Command) {
    use std::os::unix::process::CommandExt;

    use nix::libc;

    process.process_group(0);
    // SAFETY: only reads a limit.
    let limit = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) };
    let limit = libc::c_int::try_from(limit).unwrap_or(libc::c_int::MAX).clamp(256, 1 << 16);
    let close = move || {
        // Marks them only: the standard library needs one of them until the program runs.
        #[cfg(target_os = "linux")]
        // SAFETY: a system call with numbers.
        if unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) } == 0 {
            return Ok(());
        }
        for descriptor in 3..limit {
            // SAFETY: a system call with numbers; it fails where nothing is open.
            unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
        Ok(())
    };
    // SAFETY: between fork and exec it makes system calls that are allowed there, allocates nothing and takes no lock.
    unsafe { process.pre_exec(close) };
}

/// Does nothing: this system has no process groups, and programs inherit nothing unless they are told to.
#[cfg(not(unix))]
pub(crate) fn detach(_process: &mut Command) {}

/// Kills a program with everything that it started, where the system has process groups.
pub(crate) fn kill(child: &mut Child) {
    #[cfg(unix)]
    if let Ok(group) = i32::try_from(child.id()) {
        let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(group), nix::sys::signal::Signal::SIGKILL);
    }
    let _ = child.kill();
}
