//! PROXY headers: the one that says who a connection's client is, and those that say it to brokers.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use super::reject::Rejected;
use crate::{
    config::ProxyProtocolOut,
    labels::{EndBy, EndCause, EndPhase},
    net::PeerAddress,
    proto::{
        first_bytes::{DetectedProtocol, Detection, detect_protocol},
        proxy_header::{
            self, DetectedHeader, Header, HeaderAddresses, HeaderError, HeaderProgress,
            MAX_HEADER_BYTES,
        },
    },
    session::{end::End, handshake::Handshake, record::Wrapping},
};

impl Handshake<'_> {
    /// Reads the header, and takes for the client whom it names. What came behind it is left in the
    /// buffer.
    pub(in crate::session) async fn take_proxy_header(&mut self) -> Result<(), Rejected> {
        loop {
            match proxy_header::parse(&self.buffer) {
                Ok(HeaderProgress::Complete { header, len }) => {
                    self.buffer.drain(..len);
                    self.believe(header);
                    return Ok(());
                }
                Ok(HeaderProgress::Incomplete) => {}
                Err(invalid) => return Err(malformed(in_words(invalid)).into()),
            }
            if self.read_more(MAX_HEADER_BYTES, EndPhase::Handshake).await? == 0 {
                let end = End::new(EndBy::Client, EndPhase::Handshake, EndCause::Closed);
                return Err(self.ended(end.with(missing(self.buffer.len()))));
            }
        }
    }

    /// Looks at the first bytes of a peer that is not to send a header.
    pub(in crate::session) async fn refuse_proxy_header(&mut self) -> Result<(), Rejected> {
        loop {
            match proxy_header::detect(&self.buffer) {
                DetectedHeader::Absent => return Ok(()),
                DetectedHeader::V1 | DetectedHeader::V2 => {
                    return Err(malformed(UNTRUSTED.into()).into());
                }
                DetectedHeader::Undecided => {}
            }
            // Of an end, what comes next has its own to say.
            if self.read_more(MAX_HEADER_BYTES, EndPhase::Handshake).await? == 0 {
                return Ok(());
            }
        }
    }

    /// What is wrong with bytes that were to be a CONNECT, or a request, and are a PROXY header;
    /// `None`: they are none.
    pub(in crate::session) fn stray_proxy_header(&self) -> Option<Cow<'static, str>> {
        let is_one =
            detect_protocol(&self.buffer) == Detection::Protocol(DetectedProtocol::ProxyHeader);
        let rules = &self.settings.proxy_protocol;
        is_one.then_some(match (rules, &self.record.wrapping) {
            (None, _) => NOT_ACCEPTED.into(),
            (Some(_), None) => UNTRUSTED.into(),
            (Some(_), Some(_)) => MISPLACED.into(),
        })
    }

    /// What brokers are sent in front of the CONNECT; empty where that is nothing.
    pub(in crate::session) fn proxy_header(&self, version: Option<ProxyProtocolOut>) -> Vec<u8> {
        let tls = || self.record.wrapping.as_ref()?.tls.as_ref();
        match version {
            None => Vec::new(),
            Some(ProxyProtocolOut::V1) => proxy_header::write_v1(self.addresses()),
            Some(ProxyProtocolOut::V2) => {
                // As the access log writes it.
                let session = format!("{:016x}", self.record.session);
                proxy_header::write_v2(self.addresses(), tls(), session.as_bytes())
            }
        }
    }

    /// From where to where the client connected; `None` of a client on a unix socket.
    fn addresses(&self) -> Option<HeaderAddresses> {
        let source = self.record.source.address()?;
        let named = self.record.wrapping.as_ref().and_then(|wrapping| wrapping.destination);
        let destination = named.or_else(|| self.client.socket().local_address());
        // A client that was named to us on a unix socket came to no address of ours.
        let nowhere = || match source.ip() {
            IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            IpAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        Some(HeaderAddresses::new(source, destination.unwrap_or_else(nowhere)))
    }

    fn believe(&mut self, header: Header) {
        let mut wrapping = Wrapping { tls: header.tls, ..Wrapping::default() };
        if let Some(HeaderAddresses { source, destination }) = header.addresses {
            wrapping.peer = self.record.source.address();
            wrapping.destination = Some(destination);
            self.record.source = PeerAddress::Ip(source);
        }
        self.record.wrapping = Some(Box::new(wrapping));
    }
}

const NOT_ACCEPTED: &str = "a PROXY header, which this listener does not take: name the peer in \
                            accept_proxy_protocol.from, or have it send none";
const UNTRUSTED: &str = "a PROXY header from a peer that is not within accept_proxy_protocol.from";
const MISPLACED: &str =
    "a PROXY header where it does not belong: behind another one, or inside TLS";

fn malformed(detail: Cow<'static, str>) -> End {
    End::new(EndBy::Proxy, EndPhase::Handshake, EndCause::Malformed).with(detail)
}

fn in_words(invalid: HeaderError) -> Cow<'static, str> {
    match invalid {
        HeaderError::Missing(_) => {
            format!("{invalid} from a peer that is within accept_proxy_protocol.from").into()
        }
        _ => format!("bad PROXY header: {invalid}").into(),
    }
}

fn missing(read: usize) -> Cow<'static, str> {
    match read {
        0 => "nothing was sent, and no PROXY header".into(),
        n => format!("{n} bytes of a PROXY header were sent, and no more").into(),
    }
}
