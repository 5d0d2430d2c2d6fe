//! Whether a local connection is this process's own.
//!
//! Any user of the machine can connect to a loopback port. A relay serves FFmpeg, which runs in this process, and nobody
//! else.

use std::net::SocketAddr;

/// Whether the other end of a connection that was accepted is a socket of this process. `ours` and `theirs` are the
/// addresses of the accepted end.
#[cfg(unix)]
pub(super) fn is_own(ours: SocketAddr, theirs: SocketAddr) -> bool {
    use nix::sys::resource::{Resource, getrlimit};
    use nix::sys::socket::{SockaddrStorage, getpeername, getsockname};

    let last = getrlimit(Resource::RLIMIT_NOFILE).map_or(1 << 20, |(soft, _)| soft).min(1 << 20);
    // What is not a socket, or not open, has no name.
    (0..i32::try_from(last).unwrap_or(i32::MAX)).any(|fd| {
        getsockname::<SockaddrStorage>(fd).is_ok_and(|name| socket_address(&name) == Some(theirs))
            && getpeername::<SockaddrStorage>(fd).is_ok_and(|name| socket_address(&name) == Some(ours))
    })
}

#[cfg(unix)]
fn socket_address(name: &nix::sys::socket::SockaddrStorage) -> Option<SocketAddr> {
    let v4 = name.as_sockaddr_in().map(|a| std::net::SocketAddrV4::from(*a).into());
    v4.or_else(|| name.as_sockaddr_in6().map(|a| std::net::SocketAddrV6::from(*a).into()))
}

/// Windows has no quick answer. There, another user's connection costs FFmpeg its own, and gets one without credentials.
#[cfg(not(unix))]
pub(super) fn is_own(_ours: SocketAddr, _theirs: SocketAddr) -> bool {
    true
}

#[cfg(all(test, unix))]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn only_this_process_is_recognised() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            // A machine may have no IPv6.
            let Ok(listener) = TcpListener::bind(host) else { continue };
            let ours = listener.local_addr().unwrap();
            let mine = TcpStream::connect(ours).unwrap();
            let (_accepted, theirs) = listener.accept().unwrap();
            assert_eq!(theirs, mine.local_addr().unwrap());
            assert!(is_own(ours, theirs));
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = listener.local_addr().unwrap();
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{}; read -r _", ours.port());
        let mut other = Command::new("bash").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
        let (_accepted, theirs) = listener.accept().unwrap();
        assert!(!is_own(ours, theirs));
        drop(other.stdin.take());
        other.wait().unwrap();
    }
}
