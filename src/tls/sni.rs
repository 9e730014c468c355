//! Selects the certificate that a listener presents to a client.

use std::{collections::HashMap, sync::Arc};

use rustls::{
    SignatureScheme,
    pki_types::UnixTime,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

use super::ocsp::Staple;

/// A certificate with its key.
#[derive(Debug)]
pub(crate) struct Presented {
    plain: Arc<CertifiedKey>,
    /// With its OCSP response, and the last second in which that is valid, in Unix time.
    stapled: Option<(Arc<CertifiedKey>, i64)>,
}

impl Presented {
    pub(crate) fn new(certified: CertifiedKey, staple: Option<Staple>) -> Self {
        let stapled = staple.map(|Staple { der, next_update }| {
            (Arc::new(CertifiedKey { ocsp: Some(der), ..certified.clone() }), next_update)
        });
        Self { plain: Arc::new(certified), stapled }
    }

    /// What a client is sent now: clients refuse an outdated response, but do without one.
    fn current(&self) -> Arc<CertifiedKey> {
        match &self.stapled {
            Some((stapled, until)) if UnixTime::now().as_secs().cast_signed() <= *until => {
                stapled.clone()
            }
            _ => self.plain.clone(),
        }
    }

    /// The DNS names of the certificate. RFC 6125 ended the use of the common name as a DNS name.
    pub(super) fn names(&self) -> Vec<Box<str>> {
        let parsed = self.plain.cert.first().and_then(|der| parse_x509_certificate(der).ok());
        let Some((_, parsed)) = parsed else { return Vec::new() };
        let Ok(Some(names)) = parsed.subject_alternative_name() else { return Vec::new() };
        let dns = names.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase().into()),
            _ => None,
        });
        dns.collect()
    }
}

/// Certificates by the names in them: the one for the host that the client requests (RFC 6066,
/// section 3), else the wildcard that covers it (RFC 9525, section 6.3), else the first in the
/// list.
///
/// If several have the name, such as an RSA and an ECDSA certificate of one host, the first in the
/// list is used whose key has a signature scheme that the client supports.
#[derive(Debug)]
pub(super) struct BySni {
    exact: CertificateNames,
    /// By the name after the `*.`.
    wildcards: CertificateNames,
    /// The first in the list, and others that share a name with it.
    default: Vec<Arc<Presented>>,
}

type CertificateNames = HashMap<Box<str>, Vec<Arc<Presented>>>;

impl BySni {
    /// `certificates` must not be empty.
    pub(super) fn new(certificates: Vec<Presented>) -> Self {
        let mut by_sni = Self {
            exact: CertificateNames::new(),
            wildcards: CertificateNames::new(),
            default: Vec::new(),
        };
        let mut names_of_first = None;
        for certificate in certificates.into_iter().map(Arc::new) {
            let names = certificate.names();
            for name in &names {
                let (table, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut by_sni.wildcards, parent),
                    None => (&mut by_sni.exact, &**name),
                };
                table.entry(name.into()).or_default().push(certificate.clone());
            }
            let of_first = names_of_first.get_or_insert_with(|| names.clone());
            if by_sni.default.is_empty() || names.iter().any(|name| of_first.contains(name)) {
                by_sni.default.push(certificate);
            }
        }
        by_sni
    }

    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Arc<Presented>> {
        let fits =
            |certificate: &&Arc<Presented>| certificate.plain.key.choose_scheme(schemes).is_some();
        let name = name.map(str::to_ascii_lowercase).unwrap_or_default();
        let parent = name.split_once('.').map_or("", |(_, parent)| parent);
        let exact = self.exact.get(&*name).into_iter().flatten();
        let named = || exact.clone().chain(self.wildcards.get(parent).into_iter().flatten());
        // If no certificate fits, rustls reports that when it gets one that does not.
        named()
            .find(fits)
            .or_else(|| named().next())
            .or_else(|| self.default.iter().find(fits))
            .or_else(|| self.default.first())
    }
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes()).map(|chosen| chosen.current())
    }
}
