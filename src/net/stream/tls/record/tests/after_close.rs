//! What is sent after close_notify: nothing.

use std::rc::Rc;

use rustls::{Error, PeerMisbehaved, Side};

use super::{forger::Forger, read, shake_hands, suites};
use crate::net::{
    aead_keys::AeadKeys,
    buffer::Buffer,
    stream::tls::record::{TlsWrite, header::HANDSHAKE},
};

/// A request for a renegotiation is not answered, and counts.
#[test]
fn renegotiation() {
    for suite in suites().filter(|suite| suite.tls13().is_none()) {
        for (side, request) in [(Side::Client, [0; 4]), (Side::Server, [1, 0, 0, 0])] {
            let shaken = shake_hands(suite, side);
            let mut ours = shaken.ours.into_records(Rc::new(AeadKeys::default())).unwrap();
            let mut forger = Forger::new(ours.protection, shaken.peer);
            ours.write(TlsWrite::CloseNotify, &mut Buffer::default()).unwrap();
            let mut wire = forger.record(HANDSHAKE, &request);
            assert_eq!(read(&mut ours, &mut wire), Ok((Vec::new(), Vec::new())));
            let mut wire = forger.record(HANDSHAKE, &request);
            let error = Error::from(PeerMisbehaved::TooManyRenegotiationRequests);
            assert_eq!(read(&mut ours, &mut wire), Err(error));
        }
    }
}
