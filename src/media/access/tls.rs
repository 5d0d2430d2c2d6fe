//! How servers prove who they are.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::authorities::Authorities;
use super::policy::AccessPolicy;

/// How to connect with TLS under a policy.
///
/// # Errors
/// In words, if TLS cannot be used at all.
pub(crate) fn client_config(policy: &AccessPolicy) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("no secure connection can be made: {e}"))?;
    let algorithms = provider.signature_verification_algorithms;
    let with = |accepted| {
        let verifier = Arc::new(CertificateVerifier { accepted, algorithms });
        builder.clone().dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
    };
    if policy.insecure {
        return Ok(with(Accepted::Anything));
    }
    let mut roots = public_authorities().clone();
    let Some(authorities) = &policy.authorities else {
        return Ok(builder.with_root_certificates(roots).with_no_client_auth());
    };
    for certificate in authorities.certificates() {
        roots.add(certificate.clone()).map_err(|e| format!("an authority cannot be used: {e}"))?;
    }
    let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|e| format!("an authority cannot be used: {e}"))?;
    Ok(with(Accepted::Named { chains, authorities: authorities.clone() }))
}

/// The authorities of the system, or Mozilla's if the system has none. Read once.
fn public_authorities() -> &'static RootCertStore {
    static PUBLIC: OnceLock<RootCertStore> = OnceLock::new();
    PUBLIC.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        // What cannot be read is no authority.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        roots
    })
}

/// What is wrong with a server's certificate.
pub(crate) fn certificate_words(e: &CertificateError) -> String {
    use CertificateError as E;
    match e {
        E::Expired | E::ExpiredContext { .. } => "the server's certificate has expired".into(),
        E::NotValidYet | E::NotValidYetContext { .. } => "the server's certificate is not valid yet".into(),
        E::NotValidForName | E::NotValidForNameContext { .. } => {
            "the server's certificate is that of another host".into()
        }
        // An issuer of the same name whose key is another.
        E::UnknownIssuer | E::BadSignature => {
            "the server's certificate is signed by no authority that is trusted".into()
        }
        other if is_authority(other) => {
            "the server's certificate is that of an authority, and not one that is trusted by name".into()
        }
        other => format!("the server's certificate is not valid: {other}"),
    }
}

/// Whether a certificate is refused only because it says that it is an authority's. It is the last check of the
/// certificate itself, after the times between which it is valid.
fn is_authority(e: &CertificateError) -> bool {
    matches!(e, CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity"))
}

/// The certificates that a server may have.
#[derive(Debug)]
enum Accepted {
    /// Any.
    Anything,
    /// Those that an authority has signed, and a server's own if it is one of those that the user has named.
    ///
    /// Cameras and disk stations sign their certificates themselves, and tools such as `openssl req -x509` mark each of these
    /// as an authority's. Such a certificate must still be valid now, and be that of the host.
    Named {
        /// Verifies what authorities have signed.
        chains: Arc<WebPkiServerVerifier>,
        authorities: Authorities,
    },
}

/// Accepts more than the authorities vouch for. The server must still have the key that belongs to its certificate.
#[derive(Debug)]
struct CertificateVerifier {
    accepted: Accepted,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for CertificateVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Accepted::Named { chains, authorities } = &self.accepted else {
            return Ok(ServerCertVerified::assertion());
        };
        match chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(e))
                if is_authority(&e) && authorities.certificates().contains(end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
