//! PROXY headers, those that come in and those that brokers are sent.

use super::{Checker, Valid, checker::given};
use crate::config::{
    Bind, PassedTlvs, ProxyProtocolIn, ProxyProtocolOut, WRITTEN_TLV_TYPES,
    at::At,
    raw::{self, HeaderVersion},
    values::{Network, ProxySource, Scalar as _, TlvSelection, TlvType},
};

/// The most types of TLVs that a listener keeps.
const MAX_KEPT_TYPES: usize = 16;

/// CRC32C and NOOP: they say nothing of the connection.
const TYPES_WITHOUT_CONTENT: [u8; 2] = [0x03, 0x04];

/// `bind` is where the listener's peers come from, unless it has a fault.
pub(super) fn accepted(
    checker: &Checker<'_>,
    raw: &At<raw::AcceptProxyProtocol>,
    bind: Option<&Bind>,
) -> Valid<ProxyProtocolIn> {
    let (raw, section) = (raw.get()?, raw.place());
    let tlvs = given(raw.tlvs.as_ref(), |list| kept(checker, list));
    checker.required(&section, "from", &raw.from, &ProxySource::allowed())?;
    let sources = checker.some(&raw.from, |at| match (at.get()?, bind) {
        (ProxySource::Unix, Some(Bind::Tcp(_))) => {
            let what = "`unix` applies only to listeners on a unix socket";
            Err(checker.wrong(&at.place(), what, &Network::allowed()))
        }
        (ProxySource::Network(_), Some(Bind::Unix(_))) => {
            let what = "a network does not apply to a listener on a unix socket, whose peers have no \
                        address";
            Err(checker.wrong(&at.place(), what, "unix"))
        }
        (source, _) => Ok(*source),
    })?;
    let unix = sources.contains(&ProxySource::Unix);
    let networks = sources.into_iter().filter_map(|source| match source {
        ProxySource::Network(network) => Some(network),
        ProxySource::Unix => None,
    });
    Ok(ProxyProtocolIn {
        from: networks.collect(),
        unix,
        required: *raw.required.get()?,
        tlvs: tlvs?.unwrap_or_default(),
    })
}

/// The types of TLVs that a listener keeps.
fn kept(checker: &Checker<'_>, list: &At<raw::List<TlvType>>) -> Valid<Vec<u8>> {
    let types = checker.distinct(list, |at| {
        let kind = *at.get()?;
        if TYPES_WITHOUT_CONTENT.contains(&kind.0) {
            let what = format!("{kind} has no content: it is the checksum, or padding");
            return Err(checker.wrong(&at.place(), what, "other types"));
        }
        Ok(kind)
    })?;
    if types.len() > MAX_KEPT_TYPES {
        let what = format!("has {} entries", types.len());
        return Err(checker.wrong(&list.place(), what, &format!("up to {MAX_KEPT_TYPES}")));
    }
    Ok(types.into_iter().map(|kind| kind.0).collect())
}

/// The header that the brokers of a pool are sent.
pub(super) fn sent(
    checker: &Checker<'_>,
    raw: &At<raw::SendProxyProtocol>,
) -> Valid<Option<ProxyProtocolOut>> {
    let raw = raw.get()?;
    let cn = given(raw.cn.as_ref(), |cn| Ok(cn.get()?.0.clone()));
    let tlvs = given(raw.tlvs.as_ref(), |tlvs| passed(checker, tlvs));
    let version = *raw.version.get()?;
    let of_v2 =
        [("cn", raw.cn.as_ref().map(At::place)), ("tlvs", raw.tlvs.as_ref().map(At::place))];
    for (key, place) in of_v2.into_iter().filter_map(|(key, place)| Some((key, place?))) {
        if version != HeaderVersion::V2 {
            let allowed = format!("{key} together with version: v2");
            return Err(checker.wrong(&place, "is given without version 2", &allowed));
        }
    }
    let no_tlvs = || PassedTlvs::Listed(Vec::new());
    Ok(match version {
        HeaderVersion::None => None,
        HeaderVersion::V1 => Some(ProxyProtocolOut::V1),
        HeaderVersion::V2 => {
            Some(ProxyProtocolOut::V2 { cn: cn?, tlvs: tlvs?.unwrap_or_else(no_tlvs) })
        }
    })
}

/// The TLVs that are passed on.
fn passed(checker: &Checker<'_>, raw: &At<TlvSelection>) -> Valid<PassedTlvs> {
    let TlvSelection::Listed(list) = raw.get()? else { return Ok(PassedTlvs::All) };
    let types = checker.distinct_in(list, &raw.place(), |at| {
        let kind = *at.get()?;
        if WRITTEN_TLV_TYPES.contains(&kind.0) {
            let what = format!("{kind} is written by the proxy itself");
            return Err(checker.wrong(&at.place(), what, "other types"));
        }
        Ok(kind)
    })?;
    Ok(PassedTlvs::Listed(types.into_iter().map(|kind| kind.0).collect()))
}
