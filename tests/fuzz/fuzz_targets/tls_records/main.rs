//! A peer that has the keys of its connection and sends any records, in any pieces, sees the record
//! layer do what rustls does: the same plaintext, violation, alert and end.
//!
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz tls_records`

#![no_main]

mod forger;
mod setup;

use libfuzzer_sys::fuzz_target;
use mqtt_lb::testing::tls::{EstablishedTls, TlsReceived};

use crate::{forger::Forger, setup::Setup};

const HANDSHAKE: u8 = 22;

/// The longest record that a peer may announce is 2^14 + 2047 bytes.
const LONGEST: usize = (1 << 14) + 2100;

fuzz_target!(|bytes: &[u8]| {
    let Some((&which, script)) = bytes.split_first() else { return };
    let setup = Setup::get(usize::from(which));
    let (mut layer, mut layer_peer) = setup.connection(true);
    let (mut rustls, mut rustls_peer) = setup.connection(false);
    let mut script = Script(script);
    let (mut to_layer, mut to_rustls) = (Vec::new(), Vec::new());
    while let Some(step) = script.byte() {
        let mut both = [(&mut layer_peer, &mut to_layer), (&mut rustls_peer, &mut to_rustls)];
        match step % 8 {
            // A record, whatever its content.
            0 | 1 => {
                let (content_type, text) = (script.content_type(), script.bytes().to_vec());
                both.iter_mut()
                    .for_each(|(peer, wire)| wire.extend(peer.seal(content_type, &text)));
            }
            // A handshake message with the right length.
            2 => {
                let (message_type, body) = (script.byte().unwrap_or(24), script.bytes());
                let mut text = vec![message_type, 0, 0, body.len() as u8];
                text.extend(body);
                both.iter_mut().for_each(|(peer, wire)| wire.extend(peer.seal(HANDSHAKE, &text)));
            }
            // A key update, which the peer follows.
            3 => both.iter_mut().for_each(|(peer, wire)| {
                wire.extend(peer.seal(HANDSHAKE, &[24, 0, 0, 1, step >> 7]));
                peer.update_sender();
            }),
            // A long record.
            4 => {
                let (content_type, less) = (script.content_type(), script.byte().unwrap_or(0));
                let text = vec![less & 1; LONGEST - 3 * usize::from(less)];
                both.iter_mut()
                    .for_each(|(peer, wire)| wire.extend(peer.seal(content_type, &text)));
            }
            // A record with a byte changed, or only the beginning of one.
            5 => {
                let (at, mask) = (script.byte().unwrap_or(0), script.byte().unwrap_or(0));
                let (content_type, text) = (script.content_type(), script.bytes().to_vec());
                both.iter_mut().for_each(|(peer, wire)| {
                    let mut record = peer.seal(content_type, &text);
                    let at = usize::from(at) % record.len();
                    match mask {
                        0 => record.truncate(at),
                        mask => record[at] ^= mask,
                    }
                    wire.extend(record);
                });
            }
            // Anything.
            6 => {
                let text = script.bytes();
                both.iter_mut().for_each(|(_, wire)| wire.extend(text));
            }
            // What there is so far arrives, in pieces.
            _ => {
                let piece = script.byte().map_or(1 << 16, |n| 1 << (n % 17));
                let layer = (&mut layer, &mut layer_peer, &mut to_layer);
                if deliver(layer, (&mut rustls, &mut rustls_peer, &mut to_rustls), piece) {
                    return;
                }
            }
        }
    }
    let layer = (&mut layer, &mut layer_peer, &mut to_layer);
    deliver(layer, (&mut rustls, &mut rustls_peer, &mut to_rustls), 1 << 16);
});

type Side<'a> = (&'a mut EstablishedTls, &'a mut Forger, &'a mut Vec<u8>);

/// Delivers both sides' bytes and compares what follows; returns whether the connection is over.
fn deliver(layer: Side<'_>, rustls: Side<'_>, piece: usize) -> bool {
    assert_eq!(layer.2.len(), rustls.2.len());
    let (mut to_layer, mut to_rustls) = (std::mem::take(layer.2), std::mem::take(rustls.2));
    for (to_layer, to_rustls) in to_layer.chunks_mut(piece).zip(to_rustls.chunks_mut(piece)) {
        let (by_layer, by_rustls) = (layer.0.receive(to_layer), rustls.0.receive(to_rustls));
        if by_layer.violation != by_rustls.violation {
            assert!(is_known(&by_layer, &by_rustls), "{by_layer:?}\n{by_rustls:?}");
            return true;
        }
        let sent = layer.1.open_all(&by_layer.sent);
        assert_eq!(sent, rustls.1.open_all(&by_rustls.sent), "{by_layer:?}");
        let is_over = by_layer.violation.is_some() || by_layer.peer_ended;
        let without_sent = |received| TlsReceived { sent: Vec::new(), ..received };
        assert_eq!(without_sent(by_layer), without_sent(by_rustls), "{sent:?}");
        if is_over {
            return true;
        }
    }
    false
}

/// Whether the two may disagree: what is refused anyway is not parsed, and the headers of DTLS and
/// SSL 2 are refused before decryption. In TLS 1.2, change_cipher_spec is read without decryption,
/// so its content differs between the two connections.
fn is_known(layer: &TlsReceived, rustls: &TlsReceived) -> bool {
    const CHANGE_CIPHER_SPEC: [&str; 2] = ["InvalidCcs", "ChangeCipherSpecPayload"];
    let Some(violation) = &rustls.violation else {
        // A header is refused by its first bytes; rustls waits for all five behind a part of a
        // handshake message.
        let early = ["InvalidContentType", "UnknownProtocolVersion"];
        return layer.violation.as_ref().is_some_and(|it| early.iter().any(|one| it.contains(one)));
    };
    let is_malformed = violation.starts_with("InvalidMessage");
    match &layer.violation {
        // The first request for a renegotiation, which is answered.
        None => is_malformed && !layer.sent.is_empty(),
        Some(_) if is_malformed && layer.sent.len() > rustls.sent.len() => true,
        Some(layer) if layer.starts_with("Inappropriate") => is_malformed,
        Some(layer) if layer.contains("TooManyRenegotiationRequests") => is_malformed,
        Some(layer) if CHANGE_CIPHER_SPEC.iter().any(|it| layer.contains(it)) => {
            CHANGE_CIPHER_SPEC.iter().any(|it| violation.contains(it))
        }
        Some(layer) => layer.contains("UnknownProtocolVersion") && violation == "DecryptError",
    }
}

/// The rest of the input.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// Most often one that exists.
    fn content_type(&mut self) -> u8 {
        match self.byte().unwrap_or(0) {
            n @ 0..200 => 20 + n % 5,
            n => n,
        }
    }

    fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte().unwrap_or(0)).min(self.0.len());
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        bytes
    }
}
