//! The keys of a pool's `tls`.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    pki_types::ServerName,
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::{
    super::{
        CertificateFile, PoolTls, Upstream,
        fault::quote,
        section::{Item, Read, Section},
        values,
    },
    certified, pem, provider, refused,
    unverified::Unverified,
    versions,
};

/// Brokers whose tickets are kept, up to eight of each (rustls' number): more than pools have, but
/// for names that DNS makes up.
const RESUMABLE_BROKERS: usize = 256;

const CA: &str = "a readable file with certificates of CAs in PEM, such as the system's \
                  /etc/ssl/certs/ca-certificates.crt; or insecure_skip_verify: true";
const SERVER_NAME: &str = "a host name or an IP address";

/// `upstreams` are those that are listed.
pub(in crate::config) fn pool(section: &mut Section<'_>, upstreams: &[Upstream]) -> Read<PoolTls> {
    let ca = section.optional("ca", pem::authorities);
    let server_name = section.optional("server_name", server_name);
    let identity = identity(section);
    let insecure = section.or("insecure_skip_verify", "false", values::boolean);
    let versions = versions(section);
    let roots = roots(section, ca?, insecure?);
    let (server_name, identity, roots) = (server_name?, identity?, roots?);

    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions?)
        .map_err(|error| refused(section, "min_version", &error))?;
    let builder = match &roots {
        Some(roots) => builder.with_root_certificates(roots.clone()),
        None => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider())))
        }
    };
    let (certificate, key) = identity.unzip();
    let mut client = match key {
        Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))),
        None => builder.with_no_client_auth(),
    };
    client.resumption = Resumption::in_memory_sessions(RESUMABLE_BROKERS);
    let tls = PoolTls {
        client: Arc::new(client),
        server_name,
        insecure: roots.is_none(),
        certificates: certificate.into_iter().collect(),
    };
    match upstreams.iter().find(|upstream| tls.name_for(&upstream.address).is_none()) {
        None => Ok(tls),
        Some(upstream) => {
            let allowed = format!("{SERVER_NAME}, as the address of {} has none", upstream.name);
            Err(section.missing("server_name", &allowed))
        }
    }
}

/// Who vouches for the brokers; `None`: nobody has to. No CA is trusted that the file does not name:
/// a broker of one's own is seldom certified by the CAs of the web, any of which would do then.
fn roots(
    section: &Section<'_>,
    ca: Option<RootCertStore>,
    insecure: bool,
) -> Read<Option<RootCertStore>> {
    match (ca, insecure) {
        (None, false) => Err(section.missing("ca", CA)),
        (Some(_), true) => {
            let message = "has no use with insecure_skip_verify: true; remove one of them";
            Err(section.fault("ca", message))
        }
        (ca, _) => Ok(ca),
    }
}

/// The proxy's own certificate.
fn identity(section: &mut Section<'_>) -> Read<Option<(CertificateFile, CertifiedKey)>> {
    let cert = section.optional("cert", pem::chain);
    let key = section.optional("key", pem::key);
    match (cert?, key?) {
        (None, None) => Ok(None),
        (Some((file, chain)), Some(key)) => Ok(Some((file, certified(section, chain, key)?))),
        (Some(_), None) => {
            Err(section.fault("cert", "is there without a key; allowed: both, or neither"))
        }
        (None, Some(_)) => {
            Err(section.fault("key", "is there without a cert; allowed: both, or neither"))
        }
    }
}

fn server_name(item: &Item<'_>) -> Read<ServerName<'static>> {
    let text = item.text(SERVER_NAME)?;
    ServerName::try_from(text.to_owned())
        .map_err(|_| item.wrong(&format!("{} is neither", quote(text)), SERVER_NAME))
}
