//! Certificates with their keys.

use std::sync::Arc;

use rustls::{
    Error, InconsistentKeys,
    sign::{CertifiedKey, SigningKey},
};

use super::pem::Chain;

/// Combines a certificate chain with its key. `None`: the key belongs to another certificate.
///
/// # Errors
/// Any other reason for which rustls refuses them.
pub(crate) fn certified(
    chain: &Chain,
    key: Arc<dyn SigningKey>,
) -> Result<Option<CertifiedKey>, Error> {
    let certified = CertifiedKey::new(chain.certificates.clone(), key);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(Some(certified)),
        Err(Error::InconsistentKeys(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
