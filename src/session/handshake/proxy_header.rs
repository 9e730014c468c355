//! The PROXY header from a trusted proxy in front.

use std::borrow::Cow;

use super::{incomplete::incomplete, wrong_protocol::UNTRUSTED_PROXY_HEADER};
use crate::{
    config::ProxyProtocolIn,
    labels::{EndBy, EndCause, EndPhase},
    proto::proxy_header::{
        self, DetectedHeader, Header, HeaderError, HeaderProgress, MAX_HEADER_BYTES, keep_tlvs,
    },
    session::{end::End, pending::PendingClient, reject::Rejection},
};

/// Reads the header of a trusted peer, which says who the client is. What followed it stays in the
/// buffer.
pub(super) async fn accept(
    client: &mut PendingClient<'_>,
    rules: &ProxyProtocolIn,
) -> Result<(), Rejection> {
    if !rules.required && !begins_with_header(client).await? {
        return Ok(());
    }
    let (header, len) = read(client).await?;
    let tlvs = client.buffer.get(..len).and_then(|bytes| keep_tlvs(bytes, &rules.tlvs));
    client.buffer.drain(..len);
    client.record.apply_proxy_header(header, tlvs);
    Ok(())
}

/// The header, and its length in the buffer.
async fn read(client: &mut PendingClient<'_>) -> Result<(Header, usize), Rejection> {
    loop {
        match proxy_header::parse(&client.buffer) {
            Ok(HeaderProgress::Complete { header, len }) => return Ok((header, len)),
            Ok(HeaderProgress::Incomplete) => {}
            Err(invalid) => return Err(malformed(describe(invalid)).into()),
        }
        if client.read_more(MAX_HEADER_BYTES, EndPhase::Handshake).await? == 0 {
            return Err(client.closed_early(EndPhase::Handshake, incomplete_header(&client.buffer)));
        }
    }
}

/// Rejects a peer that sends a header without being trusted to.
pub(super) async fn refuse(client: &mut PendingClient<'_>) -> Result<(), Rejection> {
    if begins_with_header(client).await? {
        return Err(malformed(UNTRUSTED_PROXY_HEADER.into()).into());
    }
    Ok(())
}

/// Whether the connection begins with a header, valid or not. Reads until that is known.
async fn begins_with_header(client: &mut PendingClient<'_>) -> Result<bool, Rejection> {
    loop {
        match proxy_header::detect(&client.buffer) {
            DetectedHeader::Absent => return Ok(false),
            DetectedHeader::V1 | DetectedHeader::V2 => return Ok(true),
            DetectedHeader::Undecided => {}
        }
        // If the client has closed, the next layer reports what is missing.
        if client.read_more(MAX_HEADER_BYTES, EndPhase::Handshake).await? == 0 {
            return Ok(false);
        }
    }
}

fn malformed(detail: Cow<'static, str>) -> End {
    End::new(EndBy::Proxy, EndPhase::Handshake, EndCause::Malformed).with(detail)
}

fn describe(invalid: HeaderError) -> Cow<'static, str> {
    match invalid {
        HeaderError::Missing(_) => {
            format!("{invalid} from a peer within accept_proxy_protocol.from").into()
        }
        _ => format!("bad PROXY header: {invalid}").into(),
    }
}

fn incomplete_header(buffer: &[u8]) -> Cow<'static, str> {
    match buffer.len() {
        0 => "nothing was sent; a PROXY header was expected".into(),
        _ => incomplete("PROXY header", buffer),
    }
}
