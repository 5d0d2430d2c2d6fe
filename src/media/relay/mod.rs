//! RTSP and RTMP servers for FFmpeg, behind connections that descry makes itself.
//!
//! FFmpeg's own connections of these protocols cannot be trusted: it verifies no certificate, or not whose it is, and
//! follows redirects anywhere. So it connects to a [`Relay`] on a loopback address instead, which only this process can
//! use. The relay [connects](upstream) to the server, with the [policy](crate::media::access) and TLS of all other inputs.
//! RTSP is [rewritten](filter) on the way, so that the server sees its own address, and is [logged in](crate::media::web::WebLogin) to. RTMP
//! passes as it is.
//!
//! Order: that of the connection, in each direction.
//!
//! Memory: per relay two buffers of 64 KiB, and one RTSP message of at most 1 MiB in each direction.

mod filter;
mod message;
mod own;
mod serve;
mod target;
mod upstream;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::serve::{RelayEnd, RelayState, Upstreams, serve};
use self::target::{Dialect, RelayTarget};
use crate::address::Address;
use crate::media::access::tls::client_config;
use crate::media::access::{AccessPolicy, Leads};
use crate::media::remote::{RemoteError, StopCheck, runtime, wait};

/// How long the last message to a server may take when an input is closed.
const FAREWELL: Duration = Duration::from_millis(500);
/// Bytes that may wait for FFmpeg.
const SEND_BUFFER: u32 = 256 << 10;
/// Connections that may wait to be taken.
const BACKLOG: u32 = 16;
/// Most redirects of one input.
const MOST_REDIRECTS: usize = 5;

/// How to reach the server of an input.
pub(crate) struct RelayRequest {
    target: RelayTarget,
    leads: Leads,
    redirects: usize,
}

impl RelayRequest {
    /// The request for an address; none if it is not one of RTSP or RTMP.
    ///
    /// # Errors
    /// If the address cannot be one.
    pub(crate) fn new(address: &Address, policy: &AccessPolicy) -> Result<Option<RelayRequest>, RemoteError> {
        let Some(target) = RelayTarget::new(address).map_err(RemoteError::Other)? else { return Ok(None) };
        let leads = Leads::new(policy, Some(target.place.clone()));
        Ok(Some(RelayRequest { target, leads, redirects: 0 }))
    }

    /// Whether RTSP is spoken.
    pub(crate) fn is_rtsp(&self) -> bool {
        self.target.dialect == Dialect::Rtsp
    }

    /// Whether the connection is secure, and so everything must pass through it.
    pub(crate) fn is_secure(&self) -> bool {
        self.target.secure
    }

    /// The request for where the server leads.
    ///
    /// # Errors
    /// If it must not lead there, or has led to too many places.
    pub(crate) fn redirected(self, location: &str) -> Result<RelayRequest, RemoteError> {
        if self.redirects == MOST_REDIRECTS {
            return Err(RemoteError::Other(format!("it leads to more than {MOST_REDIRECTS} others")));
        }
        let target = self.target.redirect(location).map_err(RemoteError::Other)?;
        Ok(RelayRequest { target, leads: self.leads, redirects: self.redirects + 1 })
    }

    /// Connects to the server, and listens for FFmpeg. Blocks until the server has proved who it is, or `stop` ends that.
    ///
    /// # Errors
    /// If the server cannot be reached, or its certificate is not accepted.
    pub(crate) fn open(&self, stop: &StopCheck) -> Result<Relay, RemoteError> {
        let runtime = runtime()?;
        let tls = self.target.secure.then(|| client_config(self.leads.policy())).transpose();
        let tls = tls.map_err(RemoteError::Other)?.map(Arc::new);
        let upstreams = Upstreams { target: self.target.clone(), leads: self.leads.clone(), tls };
        let first = wait(stop, upstreams.connect())?;
        let listener = runtime.block_on(async { listen(first.peer) });
        let (listener, address) = listener.map_err(|e| RemoteError::Other(format!("no local address: {e}")))?;
        let state = Arc::<RelayState>::default();
        let task = runtime.spawn(serve(listener, address, upstreams, first, state.clone()));
        Ok(Relay { target: self.target.clone(), address, state, task: Some(task) })
    }
}

/// Listens on the loopback address of the family in which the server's datagrams come.
fn listen(peer: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let bind = |local: IpAddr| {
        let socket = if local.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
        // What FFmpeg does not read yet waits at the server, as it does without a relay.
        socket.set_send_buffer_size(SEND_BUFFER)?;
        socket.bind(SocketAddr::new(local, 0))?;
        socket.listen(BACKLOG)
    };
    // A machine may have IPv6 addresses, but none of its own.
    let v6 = peer.is_ipv6().then(|| bind(Ipv6Addr::LOCALHOST.into())).and_then(Result::ok);
    let listener = v6.map_or_else(|| bind(Ipv4Addr::LOCALHOST.into()), Ok)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// A local server that stands for a remote one. It serves one connection after the other, until it is dropped.
pub(crate) struct Relay {
    target: RelayTarget,
    /// Where FFmpeg connects.
    address: SocketAddr,
    state: Arc<RelayState>,
    task: Option<JoinHandle<()>>,
}

impl Relay {
    /// What FFmpeg opens.
    pub(crate) fn address(&self) -> String {
        self.target.local(&self.address.to_string())
    }

    /// Options of FFmpeg besides those of the input.
    pub(crate) fn options(&self) -> Vec<(&'static str, String)> {
        match self.target.dialect {
            Dialect::Rtsp => Vec::new(),
            Dialect::Rtmp => vec![("rtmp_tcurl", self.target.tc_url())],
        }
    }

    /// Where the server leads, if it has closed the connection with a redirect.
    pub(crate) fn redirect(&self) -> Option<String> {
        self.state.take(|end| match end {
            RelayEnd::Redirect(location) => Some(location.clone()),
            RelayEnd::Fault(_) => None,
        })
    }

    /// Why a later connection failed.
    pub(crate) fn fault(&self) -> Option<RemoteError> {
        self.state.take(|end| match end {
            RelayEnd::Redirect(_) => None,
            RelayEnd::Fault(fault) => Some(fault.clone()),
        })
    }
}

impl Drop for Relay {
    /// FFmpeg has closed its end. What it said last still goes to the server.
    fn drop(&mut self) {
        self.state.close();
        if let (Some(mut task), Ok(runtime)) = (self.task.take(), runtime())
            && runtime.block_on(async { timeout(FAREWELL, &mut task).await }).is_err()
        {
            task.abort();
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener as StdListener;
    use std::process::Command;

    use super::*;

    fn never() -> StopCheck {
        Arc::new(|| Ok(()))
    }

    /// A relay to a server that sends back what it gets.
    fn relay_to_echo() -> Relay {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        let address = Address::new(format!("rtmp://{}/app", listener.local_addr().unwrap()));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
            }
        });
        let request = RelayRequest::new(&address, &AccessPolicy::default()).unwrap().unwrap();
        request.open(&never()).unwrap()
    }

    fn echoed(relay: &Relay) -> String {
        let mut own = std::net::TcpStream::connect(relay.address).unwrap();
        own.write_all(b"hello").unwrap();
        own.shutdown(std::net::Shutdown::Write).unwrap();
        let mut text = String::new();
        own.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn a_relay_serves_this_process_alone_and_as_often_as_it_asks() {
        let relay = relay_to_echo();
        let port = relay.address.port();
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; echo hello >&3; cat <&3; true");
        let stranger = Command::new("bash").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&stranger.stdout), "");
        assert_eq!((echoed(&relay), echoed(&relay)), ("hello".into(), "hello".into()));
        assert!(relay.fault().is_none() && relay.redirect().is_none());
        drop(relay);
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    }

    #[test]
    fn a_server_that_cannot_be_reached_is_reported_before_ffmpeg_starts() {
        let open = |address: String, stop: &StopCheck| {
            let request = RelayRequest::new(&Address::new(address), &AccessPolicy::default()).unwrap().unwrap();
            request.open(stop).map(|relay| relay.address())
        };
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // It takes connections and says nothing, which is no handshake.
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let impatient: StopCheck = Arc::new(move || match asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0..3 => Ok(()),
            _ => Err(RemoteError::Interrupted),
        });
        assert_eq!(open(format!("rtsps://{address}/x"), &impatient), Err(RemoteError::Interrupted));
        drop(listener);
        assert!(matches!(open(format!("rtsp://{address}/x"), &never()), Err(RemoteError::Other(_))));
    }
}
