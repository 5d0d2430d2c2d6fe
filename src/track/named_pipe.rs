//! Named pipes as outputs.
//!
//! Opening a pipe blocks until there is a reader, and writing blocks until the reader takes something: possibly for ever,
//! and no signal ends it. So neither blocks here, and both are tried until the interrupt is set: writing waits until
//! the pipe has room, and opening is tried at intervals, because no system reports when a reader comes.

use std::fs::File;
use std::io::{self, Error, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, poll};

use crate::interrupt::Interrupt;

/// How often a waiting thread checks whether to stop, in milliseconds.
const CHECK: u16 = 50;
/// How many checks in a row a reader may take nothing once the interrupt is set: a second.
const LAST_CHECKS: u32 = 20;

/// A pipe that has a reader.
pub(super) struct PipeWriter<'i> {
    pipe: File,
    interrupt: &'i Interrupt,
}

impl PipeWriter<'_> {
    /// Opens `path` if it is a named pipe, and waits for its reader. `None` if it is anything else.
    ///
    /// # Errors
    /// Those of the system, and [`ErrorKind::NotConnected`] where the interrupt is set and there is no reader.
    pub(super) fn open<'i>(path: &Path, interrupt: &'i Interrupt) -> io::Result<Option<PipeWriter<'i>>> {
        if !path.metadata()?.file_type().is_fifo() {
            return Ok(None);
        }
        loop {
            match File::options().write(true).custom_flags(libc::O_NONBLOCK).open(path) {
                // It may have been replaced by something else meanwhile.
                Ok(pipe) if pipe.metadata()?.file_type().is_fifo() => return Ok(Some(PipeWriter { pipe, interrupt })),
                Ok(_) => return Err(ErrorKind::Unsupported.into()),
                Err(e) if e.raw_os_error() != Some(libc::ENXIO) => return Err(e),
                Err(_) if interrupt.is_set() => {
                    return Err(Error::new(ErrorKind::NotConnected, "no program has opened it to read"));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(CHECK.into())),
            }
        }
    }
}

impl Write for PipeWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut left = LAST_CHECKS;
        loop {
            match self.pipe.write(bytes) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                other => return other,
            }
            match poll(&mut [PollFd::new(self.pipe.as_fd(), PollFlags::POLLOUT)], CHECK) {
                Ok(0) if self.interrupt.is_set() => left -= 1,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
            }
            if left == 0 {
                return Err(Error::new(ErrorKind::NotConnected, "the program that has opened it does not read it"));
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::path::PathBuf;
    use std::thread;

    use nix::sys::stat::Mode;

    use super::*;

    /// More than a pipe holds.
    const MUCH: usize = 1 << 20;

    fn pipe() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        (dir, path)
    }

    /// Also after a signal: what is complete is still written.
    #[test]
    fn a_reader_gets_everything_however_late_it_comes() {
        let (_dir, path) = pipe();
        for (is_set, delay) in [(false, 150), (true, 0)] {
            let interrupt = Interrupt::new();
            let from = path.clone();
            let reader = thread::spawn(move || {
                thread::sleep(Duration::from_millis(delay));
                let mut bytes = Vec::new();
                let mut pipe = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(from).unwrap();
                // Until there is a writer, reading gives nothing.
                while bytes.len() < MUCH {
                    let mut piece = [0; 5000];
                    match pipe.read(&mut piece) {
                        Ok(length) => bytes.extend_from_slice(&piece[..length]),
                        Err(e) => assert_eq!(e.kind(), ErrorKind::WouldBlock),
                    }
                }
                bytes
            });
            let mut writer = PipeWriter::open(&path, &interrupt).unwrap().unwrap();
            if is_set {
                interrupt.set();
            }
            writer.write_all(&vec![7; MUCH]).unwrap();
            assert!(reader.join().unwrap().iter().all(|&byte| byte == 7));
        }
    }

    #[test]
    fn an_interrupt_ends_the_wait_for_a_reader() {
        let (_dir, path) = pipe();
        let interrupt = Interrupt::new();
        let waits = interrupt.clone();
        let at = path.clone();
        let opening = thread::spawn(move || PipeWriter::open(&at, &waits).map(|_| ()));
        interrupt.set();
        assert_eq!(opening.join().unwrap().unwrap_err().kind(), ErrorKind::NotConnected);
        // One that has opened it and does not read.
        let _idle = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
        let mut writer = PipeWriter::open(&path, &interrupt).unwrap().unwrap();
        assert_eq!(writer.write_all(&vec![7; MUCH]).unwrap_err().kind(), ErrorKind::NotConnected);
    }

    #[test]
    fn anything_else_is_no_pipe() {
        assert!(PipeWriter::open(Path::new("/dev/null"), &Interrupt::new()).unwrap().is_none());
    }
}
