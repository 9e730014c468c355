//! Which clients are accepted by their certificates.

use std::sync::Arc;

use rustls::{
    Error, RootCertStore,
    pki_types::CertificateRevocationListDer,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};

use super::{explained::Explained, provider::provider};

/// Which clients are accepted.
pub(crate) enum Clients {
    /// Certificates are not requested.
    Any,
    /// Certificates that these CAs have signed.
    Of {
        authorities: RootCertStore,
        /// Empty: revocation is not checked.
        revoked: Vec<CertificateRevocationListDer<'static>>,
        /// Whether clients without a certificate are refused.
        required: bool,
    },
}

impl Clients {
    /// # Errors
    /// Why the CAs or lists cannot be used.
    pub(super) fn verifier(self) -> Result<Arc<dyn ClientCertVerifier>, Error> {
        let Self::Of { authorities, revoked, required } = self else {
            return Ok(WebPkiClientVerifier::no_client_auth());
        };
        // CAs seldom publish lists about themselves. An outdated list causes a warning, because
        // refusing all devices would be worse. Clients of a CA without a list are refused, as it
        // may have revoked any of them.
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider())
                .with_crls(revoked)
                .only_check_end_entity_revocation();
        let verifier = if required { verifier } else { verifier.allow_unauthenticated() };
        let verifier = verifier.build().map_err(|error| Error::General(error.to_string()))?;
        Ok(Arc::new(Explained(verifier)))
    }
}
