//! TLS: from the files that keys name to configurations of rustls.

use std::{path::PathBuf, sync::Arc};

use rustls::{pki_types, sign::CertifiedKey};

use super::{
    Checker, Valid,
    checker::given,
    passthrough,
    tls_files::{LISTENER_PAIR, POOL_PAIR, certified, is_world_readable, refused, weaknesses},
};
use crate::{
    config::{
        CertificateFile, ListenerTls, PoolTls, RevocationFile, StapleFile, TicketKeyFile,
        TlsFileWarning, Upstream,
        at::{At, Place},
        raw::{self, ClientAuth},
        values::{AlpnName, FilePath, SERVER_NAME, ServerName},
    },
    tls::{
        self, Authorities, BrokerCheck, Client, Clients, HTTP_1_1, Pin, Presented, Server, Staple,
        TicketKeys, Tickets, TlsVersion,
    },
};

const CA: &str = "a readable file with certificates of CAs in PEM, such as the system's \
                  /etc/ssl/certs/ca-certificates.crt; or a pin; or insecure_skip_verify: true";

/// What follows from a CA whose key is too weak.
const SIGNS_IN_VAIN: &str = "no certificate that it has signed is accepted";

/// Where the TLS of a listener's clients ends.
pub(super) enum Tls {
    Terminated(Box<ListenerTls>),
    /// At the brokers.
    Passthrough,
}

impl Tls {
    pub(super) fn terminated(self) -> Option<ListenerTls> {
        match self {
            Self::Terminated(tls) => Some(*tls),
            Self::Passthrough => None,
        }
    }
}

/// `websocket`: MQTT comes in one on this listener.
pub(super) fn listener(
    checker: &Checker<'_>,
    raw: &At<raw::ListenerTls>,
    websocket: bool,
) -> Valid<Tls> {
    let (raw, section) = (raw.get()?, raw.place());
    given(raw.mode.as_ref(), At::get)?;
    if raw.is_passthrough() {
        return passthrough::tls(checker, raw).map(|()| Tls::Passthrough);
    }
    let earlier_files = checker.0.file_count();
    let mut file_warnings = Vec::new();
    let certificates = match &raw.certificates {
        Some(list) => checker.some(list, |at| certificate(checker, at, &mut file_warnings)),
        None => Err(checker.missing(&section, "certificates", "a list of { cert, key }")),
    };
    let clients = clients(checker, &section, raw, &mut file_warnings);
    let alpn = given(raw.alpn.as_ref(), |list| protocols(checker, list, websocket));
    let versions = versions(checker, raw);
    let tickets = tickets(checker, raw);
    let (files, certificates): (Vec<_>, Vec<_>) = certificates?.into_iter().unzip();
    let (files, staples): (Vec<_>, Vec<_>) = files.into_iter().unzip();
    let (clients, revocation) = clients?;
    let (min_version, max_version) = versions?;
    let (tickets, ticket_keys) = tickets?;
    let asks_for_certificates = matches!(clients, Clients::Of { .. });
    let server = Server {
        certificates,
        clients,
        min_version,
        max_version,
        alpn: alpn?.unwrap_or_default(),
        max_record: raw.max_record.get()?.0 as usize,
        tickets,
    };
    let server =
        server.config().map_err(|error| refused(checker, &section.key("certificates"), &error))?;
    Ok(Tls::Terminated(Box::new(ListenerTls {
        server,
        asks_for_certificates,
        certificates: files,
        staples: staples.into_iter().flatten().collect(),
        revocation,
        files: checker.0.files_after(earlier_files),
        ticket_keys,
        file_warnings,
    })))
}

/// The lowest and the highest version.
fn versions(checker: &Checker<'_>, raw: &raw::ListenerTls) -> Valid<(TlsVersion, TlsVersion)> {
    match (*raw.min_version.get()?, *raw.max_version.get()?) {
        (TlsVersion::Tls13, TlsVersion::Tls12) => {
            let what = "is below min_version";
            Err(checker.wrong(&raw.max_version.place(), what, "min_version, or a higher one"))
        }
        versions => Ok(versions),
    }
}

/// How clients resume their sessions, and the file of the keys for it.
fn tickets(
    checker: &Checker<'_>,
    raw: &raw::ListenerTls,
) -> Valid<(Tickets, Option<TicketKeyFile>)> {
    let keys = given(raw.ticket_keys.as_ref(), |keys| ticket_keys(checker, keys));
    let count = usize::from(raw.tickets.get()?.0);
    if let (0, Some(unused)) = (count, &raw.ticket_keys) {
        let message = "has no effect with tickets: 0; remove one of them";
        return Err(checker.fault(&unused.place(), message));
    }
    let (file, keys) = keys?.unzip();
    Ok((Tickets { count, keys }, file))
}

fn ticket_keys(
    checker: &Checker<'_>,
    raw: &At<raw::TicketKeys>,
) -> Valid<(TicketKeyFile, TicketKeys)> {
    let (raw, section) = (raw.get()?, raw.place());
    checker.required(&section, "file", &raw.file, tls::TICKET_KEYS)?;
    let (path, keys) = checker.file(&raw.file, tls::TICKET_KEYS, tls::ticket_keys)?;
    let is_world_readable = is_world_readable(&path);
    let repeated_line = keys.repeated_line;
    Ok((TicketKeyFile { path, is_world_readable, repeated_line }, keys))
}

fn certificate(
    checker: &Checker<'_>,
    raw: &At<raw::Certificate>,
    warnings: &mut Vec<TlsFileWarning>,
) -> Valid<((CertificateFile, Option<StapleFile>), Presented)> {
    let (raw, section) = (raw.get()?, raw.place());
    let has_cert = checker.required(&section, "cert", &raw.cert, tls::CHAIN).map(|_| ());
    let has_key = checker.required(&section, "key", &raw.key, tls::KEY).map(|_| ());
    match (has_cert, has_key) {
        (Ok(()), Ok(())) => {
            let (file, certified) =
                certified(checker, (&raw.cert, &raw.key), &LISTENER_PAIR, warnings)?;
            let staple = given(raw.ocsp.as_ref(), |file| staple(checker, file, &certified))?;
            let (staple_file, staple) = staple.unzip();
            Ok(((file, staple_file), Presented::new(certified, staple)))
        }
        // The file of `cert` may have a fault, too.
        (Ok(()), Err(reported)) => {
            checker.file(&raw.cert, tls::CHAIN, tls::chain).and(Err(reported))
        }
        (Err(reported), _) => Err(reported),
    }
}

fn staple(
    checker: &Checker<'_>,
    file: &At<FilePath>,
    certified: &CertifiedKey,
) -> Valid<(StapleFile, Staple)> {
    let (path, staple) = checker.file(file, tls::OCSP, |der| match certified.cert.first() {
        Some(certificate) => tls::staple(der, certificate),
        None => Err("belongs to no certificate".to_owned()),
    })?;
    Ok((StapleFile { path, next_update: staple.next_update }, staple))
}

/// Which clients are accepted, and the validity of their revocation lists.
fn clients(
    checker: &Checker<'_>,
    section: &Place,
    raw: &raw::ListenerTls,
    warnings: &mut Vec<TlsFileWarning>,
) -> Valid<(Clients, Option<RevocationFile>)> {
    let roots = given(raw.client_ca.as_ref(), |file| {
        checker.file(file, tls::AUTHORITIES, tls::authorities)
    });
    let lists = given(raw.client_crl.as_ref(), |file| {
        checker.file(file, tls::REVOCATION_LISTS, tls::revocation_lists)
    });
    let (auth, roots, lists) = (*raw.client_auth.get()?, roots?, lists?);
    if auth == ClientAuth::None {
        let Some(unused) = raw.client_ca.as_ref().or(raw.client_crl.as_ref()) else {
            return Ok((Clients::Any, None));
        };
        let what = "has no effect with client_auth none";
        let allowed = "client_auth optional or required, or neither client_ca nor client_crl";
        return Err(checker.wrong(&unused.place(), what, allowed));
    }
    let Some((ca, authorities)) = roots else {
        return Err(checker.missing(section, "client_ca", tls::AUTHORITIES));
    };
    warnings.extend(weaknesses("client_ca", &ca, &authorities.weaknesses, SIGNS_IN_VAIN));
    let authorities = authorities.roots;
    let (file, revoked) = lists.map_or((None, Vec::new()), |(path, lists)| {
        (Some(RevocationFile { path, next_update: lists.next_update }), lists.lists)
    });
    let required = auth == ClientAuth::Required;
    Ok((Clients::Of { authorities, revoked, required }, file))
}

fn protocols(
    checker: &Checker<'_>,
    raw: &At<raw::List<AlpnName>>,
    websocket: bool,
) -> Valid<Vec<Vec<u8>>> {
    let names = alpn_names(checker, raw)?;
    if websocket && !names.iter().any(|name| name == HTTP_1_1.as_bytes()) {
        let what = "lacks http/1.1, which is what clients offer for a WebSocket";
        return Err(checker.wrong(&raw.place(), what, "a list with http/1.1 in it, or no alpn"));
    }
    Ok(names)
}

fn alpn_names(checker: &Checker<'_>, raw: &At<raw::List<AlpnName>>) -> Valid<Vec<Vec<u8>>> {
    checker.some(raw, |at| at.get().map(|name| name.0.as_bytes().to_vec()))
}

/// `upstreams` are those that are listed.
pub(super) fn pool(
    checker: &Checker<'_>,
    raw: &At<raw::PoolTls>,
    upstreams: &[Upstream],
) -> Valid<PoolTls> {
    let (raw, section) = (raw.get()?, raw.place());
    let earlier_files = checker.0.file_count();
    let ca = given(raw.ca.as_ref(), |file| checker.file(file, tls::AUTHORITIES, tls::authorities));
    let mut file_warnings = Vec::new();
    if let Ok(Some((path, authorities))) = &ca {
        file_warnings.extend(weaknesses("ca", path, &authorities.weaknesses, SIGNS_IN_VAIN));
    }
    let identity = identity(checker, raw, &mut file_warnings);
    let check = broker_check(checker, &section, raw, ca);
    let alpn = given(raw.alpn.as_ref(), |list| alpn_names(checker, list));
    let server_name = given(raw.server_name.as_ref(), |name| name.get().map(server_name));
    let (certificate, identity) = identity?.unzip();
    let client = Client {
        check: check?,
        identity,
        min_version: *raw.min_version.get()?,
        alpn: alpn?.unwrap_or_default(),
    };
    let client = client.config().map_err(|error| refused(checker, &section, &error))?;
    let tls = PoolTls {
        client: Arc::new(client),
        server_name: server_name?.flatten(),
        insecure: *raw.insecure_skip_verify.get()?,
        certificates: certificate.into_iter().collect(),
        files: checker.0.files_after(earlier_files),
        file_warnings,
    };
    match upstreams.iter().find(|upstream| tls.name_for(&upstream.address).is_none()) {
        None => Ok(tls),
        Some(upstream) => {
            let allowed = format!("{SERVER_NAME}, as the address of {} has none", upstream.name);
            Err(checker.missing(&section, "server_name", &allowed))
        }
    }
}

/// Which brokers are accepted. `ca`: what was read from its file.
fn broker_check(
    checker: &Checker<'_>,
    section: &Place,
    raw: &raw::PoolTls,
    ca: Valid<Option<(PathBuf, Authorities)>>,
) -> Valid<BrokerCheck> {
    let pins =
        given(raw.pin.as_ref(), |list| checker.distinct(list, |at: &At<Pin>| at.get().copied()));
    let insecure = *raw.insecure_skip_verify.get()?;
    let (ca, pins) = (ca?.map(|(_, authorities)| authorities.roots), pins?);
    let places = [raw.ca.as_ref().map(At::place), raw.pin.as_ref().map(At::place)];
    if let (true, Some(at)) = (insecure, places.iter().flatten().next()) {
        let message = "has no effect with insecure_skip_verify: true; remove one of them";
        return Err(checker.fault(at, message));
    }
    match (ca, pins) {
        _ if insecure => Ok(BrokerCheck::Any),
        (None, None) => Err(checker.missing(section, "ca", CA)),
        (Some(roots), None) => Ok(BrokerCheck::Signed(roots)),
        (None, Some(pins)) => Ok(BrokerCheck::Pinned(pins)),
        (Some(roots), Some(pins)) => Ok(BrokerCheck::SignedAndPinned(roots, pins)),
    }
}

/// The proxy's own certificate.
fn identity(
    checker: &Checker<'_>,
    raw: &raw::PoolTls,
    warnings: &mut Vec<TlsFileWarning>,
) -> Valid<Option<(CertificateFile, CertifiedKey)>> {
    match (&raw.cert, &raw.key) {
        (None, None) => Ok(None),
        (Some(cert), Some(key)) => certified(checker, (cert, key), &POOL_PAIR, warnings).map(Some),
        (Some(cert), None) => {
            Err(checker.wrong(&cert.place(), "is given without a key", "both, or neither"))
        }
        (None, Some(key)) => {
            Err(checker.wrong(&key.place(), "is given without a cert", "both, or neither"))
        }
    }
}

fn server_name(name: &ServerName) -> Option<pki_types::ServerName<'static>> {
    pki_types::ServerName::try_from(name.0.to_string()).ok()
}
