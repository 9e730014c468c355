//! The keys of a listener's `tls`.

use std::sync::Arc;

use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs::Ticketer,
    pki_types::CertificateRevocationListDer,
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
};

use super::{
    super::{
        CertificateFile, ListenerTls, RevocationFile,
        fault::quote,
        section::{Item, Read, Section},
        values,
    },
    certified, pem, provider, refused,
    sni::BySni,
    versions,
};

/// What a browser offers for a WebSocket (RFC 7301, section 6; RFC 6455 is HTTP/1.1 at first).
const HTTP_1_1: &[u8] = b"http/1.1";

/// `websocket` says whether MQTT comes in one, on this listener.
pub(in crate::config) fn listener(section: &mut Section<'_>, websocket: bool) -> Read<ListenerTls> {
    let certificates = section.required("certificates", "a list of { cert, key }", |item| {
        item.some(|item| item.section(certificate))
    });
    let clients = clients(section);
    let versions = versions(section);
    let alpn = section.optional("alpn", |item| protocols(item, websocket));
    let (files, certificates): (Vec<_>, Vec<_>) = certificates?.into_iter().unzip();
    let (verifier, revocation) = clients?;
    let asks_for_certificates = verifier.offer_client_auth();
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions?)
        .map_err(|error| refused(section, "min_version", &error))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(BySni::new(certificates)));
    server.alpn_protocols = alpn?.unwrap_or_default();
    // Tickets cost no memory here, unlike sessions that are kept. Their keys are made anew with each
    // load, since a resumed handshake looks at no CA and no CRL: whoever has been revoked meanwhile
    // has to show his certificate.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.ticketer = Ticketer::new().map_err(|error| refused(section, "certificates", &error))?;
    // A device has one connection, and gets its next ticket with it.
    server.send_tls13_tickets = 1;
    // For the alert to a client that resumes with a certificate that has expired meanwhile.
    server.enable_secret_extraction = true;
    Ok(ListenerTls {
        server: Arc::new(server),
        asks_for_certificates,
        certificates: files,
        revocation,
    })
}

fn certificate(section: &mut Section<'_>) -> Read<(CertificateFile, CertifiedKey)> {
    let cert = section.required("cert", pem::CHAIN, pem::chain);
    let key = section.required("key", pem::KEY, pem::key);
    let (file, chain) = cert?;
    Ok((file, certified(section, chain, key?)?))
}

#[derive(Clone, Copy, PartialEq)]
enum ClientAuth {
    None,
    Optional,
    Required,
}

type Verifier = Arc<dyn ClientCertVerifier>;

/// Who may come, and until when it is known who may not.
fn clients(section: &mut Section<'_>) -> Read<(Verifier, Option<RevocationFile>)> {
    let auth = section.or("client_auth", "none", |item| {
        let words = [
            ("none", ClientAuth::None),
            ("optional", ClientAuth::Optional),
            ("required", ClientAuth::Required),
        ];
        values::one_of(item, &words)
    });
    let roots = section.optional("client_ca", pem::authorities);
    let crls = section.optional("client_crl", pem::revocation_lists);
    let (auth, roots, crls) = (auth?, roots?, crls?);
    match (auth, roots) {
        (ClientAuth::None, None) if crls.is_none() => {
            Ok((WebPkiClientVerifier::no_client_auth(), None))
        }
        (ClientAuth::None, roots) => {
            let key = if roots.is_some() { "client_ca" } else { "client_crl" };
            let message = "has no use with client_auth none; allowed: client_auth optional or \
                           required, or none of these";
            Err(section.fault(key, message))
        }
        (_, None) => Err(section.missing("client_ca", pem::AUTHORITIES)),
        (auth, Some(roots)) => {
            let (file, lists) =
                crls.map_or((None, Vec::new()), |(file, lists)| (Some(file), lists));
            Ok((verifier(section, roots, lists, auth)?, file))
        }
    }
}

fn verifier(
    section: &Section<'_>,
    roots: RootCertStore,
    crls: Vec<CertificateRevocationListDer<'static>>,
    auth: ClientAuth,
) -> Read<Verifier> {
    // CAs seldom publish lists of themselves, and a list that is late is better than no devices:
    // that it is late is warned about. A CA without a list is refused, as it may have revoked anyone.
    let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .with_crls(crls)
        .only_check_end_entity_revocation();
    if auth == ClientAuth::Optional {
        verifier = verifier.allow_unauthenticated();
    }
    verifier
        .build()
        .map_err(|error| refused(section, "client_ca", &rustls::Error::General(error.to_string())))
}

/// Names of protocols (RFC 7301, section 3.1), the best first.
fn protocols(item: &Item<'_>, websocket: bool) -> Read<Vec<Vec<u8>>> {
    let protocols = item.some(|item| {
        const ALLOWED: &str = "names of 1 to 255 bytes, such as mqtt";
        let name = item.text(ALLOWED)?;
        match name.len() {
            1..=255 => Ok(name.as_bytes().to_vec()),
            _ => Err(item.wrong(&format!("{} is no protocol", quote(name)), ALLOWED)),
        }
    })?;
    if websocket && !protocols.iter().any(|name| name == HTTP_1_1) {
        let message = "is without http/1.1, which is what clients offer for a WebSocket; allowed: \
                       a list with http/1.1 in it, or no alpn";
        return Err(item.fault(message));
    }
    Ok(protocols)
}
