//! Certificates that the user trusts besides those of the public authorities: of other authorities, and of single servers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::limited_file;

/// Largest PEM file. A bundle of all public authorities has a quarter of this.
const MOST_PEM: u64 = 1 << 20;

/// The certificates of a PEM file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "SentAuthorities", into = "SentAuthorities")]
pub struct Authorities {
    path: PathBuf,
    certificates: Arc<Vec<CertificateDer<'static>>>,
}

/// The same on its way to another process, which need not read the file.
#[derive(Serialize, Deserialize)]
struct SentAuthorities {
    path: PathBuf,
    certificates: Vec<Vec<u8>>,
}

impl From<SentAuthorities> for Authorities {
    fn from(SentAuthorities { path, certificates }: SentAuthorities) -> Authorities {
        Authorities { path, certificates: Arc::new(certificates.into_iter().map(CertificateDer::from).collect()) }
    }
}

impl From<Authorities> for SentAuthorities {
    fn from(Authorities { path, certificates }: Authorities) -> SentAuthorities {
        SentAuthorities { path, certificates: certificates.iter().map(|c| c.to_vec()).collect() }
    }
}

impl Authorities {
    /// Reads a PEM file. Keys and whatever else is in it are ignored.
    ///
    /// # Errors
    /// [`Error::Usage`] if it cannot be read, or holds no certificate that can be an authority's.
    pub fn read(path: &Path) -> Result<Authorities> {
        let wrong = |cause: String| {
            Error::usage(format!("{}: {cause}", path.display()), "Name a PEM file of the authorities' certificates.")
        };
        let pem = limited_file::read_bytes(path, MOST_PEM).map_err(|e| wrong(format!("cannot be read: {e}")))?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let found = found.map_err(|_| wrong("is not a PEM file, or is truncated".into()))?;
        if found.is_empty() {
            return Err(wrong("contains no certificate".into()));
        }
        let mut store = RootCertStore::empty();
        for certificate in &found {
            store.add(certificate.clone()).map_err(|_| wrong("contains a certificate that cannot be read".into()))?;
        }
        Ok(Authorities { path: path.to_path_buf(), certificates: Arc::new(found) })
    }

    /// The file that they were read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The certificates.
    pub(crate) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }
}
