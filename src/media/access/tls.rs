//! How servers prove who they are.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

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
    if policy.insecure {
        let anything = Arc::new(AcceptAnything(provider));
        return Ok(builder.dangerous().with_custom_certificate_verifier(anything).with_no_client_auth());
    }
    let mut roots = public_authorities().clone();
    for certificate in policy.authorities.iter().flat_map(|a| a.certificates()) {
        roots.add(certificate.clone()).map_err(|e| format!("an authority cannot be used: {e}"))?;
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
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
        E::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "the server's certificate is that of an authority, which no server may use".into()
        }
        other => format!("the server's certificate is not valid: {other}"),
    }
}

/// Accepts every certificate. The server must still have the key that belongs to it.
#[derive(Debug)]
struct AcceptAnything(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnything {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
