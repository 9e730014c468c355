//! How the certificates of brokers are checked.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, PeerMisbehaved, RootCertStore,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use webpki::RawPublicKeyEntity;

use super::{
    pin::{NotPinned, Pin, Pins, public_key},
    provider::client_provider,
};

/// Which certificates of brokers are accepted.
pub(crate) enum BrokerCheck {
    /// All; the traffic is encrypted, and the broker is not authenticated.
    Any,
    /// Those that these CAs have signed for the broker's name.
    Signed(RootCertStore),
    /// Those with one of these pins, whatever their chain, names and validity are.
    Pinned(Vec<Pin>),
    /// Those that are both.
    SignedAndPinned(RootCertStore, Vec<Pin>),
}

impl BrokerCheck {
    /// # Errors
    /// Why the CAs cannot be used.
    pub(super) fn verifier(self) -> Result<Arc<dyn ServerCertVerifier>, Error> {
        let provider = client_provider();
        let (signed, pins) = match self {
            Self::Any => (None, None),
            Self::Signed(roots) => return chain_verifier(roots, provider).map(|chain| chain as _),
            Self::Pinned(pins) => (None, Some(pins)),
            Self::SignedAndPinned(roots, pins) => {
                (Some(chain_verifier(roots, provider.clone())?), Some(pins))
            }
        };
        Ok(Arc::new(BrokerVerifier { chain: signed, pins, provider }))
    }
}

fn chain_verifier(
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, Error> {
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier.map_err(|error| Error::General(error.to_string()))
}

/// A verifier with pins, or without any check. In any case the broker proves that it has the key of
/// its certificate.
#[derive(Debug)]
struct BrokerVerifier {
    chain: Option<Arc<WebPkiServerVerifier>>,
    pins: Option<Vec<Pin>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for BrokerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(chain) = &self.chain {
            chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        }
        if let Some(expected) = &self.pins {
            let pins = Pins::of(end_entity);
            if !pins.any_in(expected) {
                let why = OtherError(Arc::new(NotPinned(pins)));
                return Err(Error::InvalidCertificate(CertificateError::Other(why)));
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match &self.chain {
            Some(chain) => chain.verify_tls12_signature(message, certificate, signed),
            None => self.verify_by_key(message, certificate, signed, usize::MAX),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match &self.chain {
            Some(chain) => chain.verify_tls13_signature(message, certificate, signed),
            // In TLS 1.3 a scheme names the curve, too; rustls lists that algorithm first.
            None => self.verify_by_key(message, certificate, signed, 1),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl BrokerVerifier {
    /// Verifies the signature of a handshake by the public key of the certificate, of which nothing
    /// else is used: webpki reads only certificates of X.509 version 3, and home-made ones are often
    /// of version 1. Up to `most` algorithms of the scheme are tried.
    fn verify_by_key(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
        most: usize,
    ) -> Result<HandshakeSignatureValid, Error> {
        let bad_encoding = || Error::InvalidCertificate(CertificateError::BadEncoding);
        let key = public_key(certificate).ok_or_else(bad_encoding)?;
        let key = RawPublicKeyEntity::try_from(&key).map_err(|_| bad_encoding())?;
        let mapping = self.provider.signature_verification_algorithms.mapping;
        let (_, algorithms) = mapping
            .iter()
            .find(|(scheme, _)| *scheme == signed.scheme)
            .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        let verifies = |algorithm: &&dyn rustls::pki_types::SignatureVerificationAlgorithm| {
            key.verify_signature(*algorithm, message, signed.signature()).is_ok()
        };
        if algorithms.iter().take(most).any(verifies) {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::BadSignature))
        }
    }
}
