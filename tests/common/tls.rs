//! Certificates of every kind, and servers that have them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::Bench;

/// What is wrong with a server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Certificate {
    /// Nothing, for those who know its authority.
    Good,
    WrongHost,
    Expired,
    SelfSigned,
    /// As `openssl req -x509` makes them: self-signed, and marked as that of an authority.
    OwnAuthority,
    ExpiredOwnAuthority,
    OwnAuthorityOfOther,
}

/// An authority that no system knows.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub(crate) pem: PathBuf,
}

impl Authority {
    /// Writes its certificate to `ca.pem`.
    pub(crate) fn new(b: &Bench) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        b.write("ca.pem", issuer.pem().as_bytes());
        Authority { issuer, pem: b.path("ca.pem") }
    }

    /// How a server with such a certificate answers, and the certificate.
    fn config(&self, kind: Certificate) -> (ServerConfig, String) {
        use Certificate as C;
        let is_other = matches!(kind, C::WrongHost | C::OwnAuthorityOfOther);
        let names = if is_other { vec!["other.example"] } else { vec!["localhost", "127.0.0.1"] };
        let mut params = CertificateParams::new(names.into_iter().map(String::from).collect::<Vec<_>>()).unwrap();
        if matches!(kind, C::Expired | C::ExpiredOwnAuthority) {
            (params.not_before, params.not_after) = (date_time_ymd(2019, 1, 1), date_time_ymd(2020, 1, 1));
        }
        let key = KeyPair::generate().unwrap();
        if matches!(kind, C::OwnAuthority | C::ExpiredOwnAuthority | C::OwnAuthorityOfOther) {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let certificate = match kind {
            C::Good | C::WrongHost | C::Expired => params.signed_by(&key, &self.issuer),
            C::SelfSigned | C::OwnAuthority | C::ExpiredOwnAuthority | C::OwnAuthorityOfOther => {
                params.self_signed(&key)
            }
        }
        .unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        (config, certificate.pem())
    }
}

/// Takes TLS connections and passes what is in them to a server on this machine.
pub(crate) struct Front {
    pub(crate) port: u16,
    /// Connections that were tried, and bytes that a client has sent inside of them.
    pub(crate) connections: Arc<AtomicUsize>,
    pub(crate) bytes: Arc<AtomicUsize>,
    /// The certificate.
    pub(crate) pem: String,
    _runtime: tokio::runtime::Runtime,
}

impl Front {
    pub(crate) fn new(authority: &Authority, kind: Certificate, server: u16) -> Front {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (config, pem) = authority.config(kind);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (connections, bytes) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (count, total) = (connections.clone(), bytes.clone());
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(client, acceptor.clone(), server, total.clone()));
            }
        });
        Front { port, connections, bytes, pem, _runtime: runtime }
    }

    pub(crate) fn received(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

async fn serve(client: TcpStream, acceptor: TlsAcceptor, server: u16, total: Arc<AtomicUsize>) {
    let Ok(client) = acceptor.accept(client).await else { return };
    let (mut from_client, mut to_client) = tokio::io::split(client);
    // A client that trusts the certificate says something.
    let mut buffer = vec![0; 16 << 10];
    let Ok(first) = from_client.read(&mut buffer).await else { return };
    total.fetch_add(first, Ordering::Relaxed);
    let Ok(upstream) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    let (mut from_server, mut to_server) = upstream.into_split();
    let there = async {
        let mut length = first;
        while length > 0 && to_server.write_all(&buffer[..length]).await.is_ok() {
            length = from_client.read(&mut buffer).await.unwrap_or(0);
            total.fetch_add(length, Ordering::Relaxed);
        }
        let _ = to_server.shutdown().await;
    };
    let back = async {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
        let _ = to_client.shutdown().await;
    };
    tokio::join!(there, back);
}
