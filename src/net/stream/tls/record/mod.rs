//! The record layer of TLS once the handshake is over: RFC 8446, section 5, and RFC 5246, section
//! 6, with RFC 5288 (AES-GCM) and RFC 7905 (ChaCha20-Poly1305).
//!
//! rustls makes the handshake and hands out its keys. All that is left of it then is two keys with
//! their sequence numbers ([`RecordLayer`]): a tenth of rustls' connection, and it can go on in
//! another process ([`RecordState`]). The AEADs and HKDF are those of AWS-LC, as in rustls. What a
//! peer may send, and how often, and each error and alert are those of rustls.
//!
//! # What could go wrong, and where it is caught
//!
//! *A nonce is used twice with one key.* That would reveal two plaintexts and let anyone forge
//! records (AES-GCM), so numbers only grow: [`TrafficKey::seal`](traffic_key::TrafficKey::seal)
//! takes a number before it encrypts, also if that fails, and refuses to wrap. A new key starts at
//! 0 (`TrafficKey::update`). The first number is the one that rustls would have used
//! (`established`), and the nonces of TLS 1.2 go on as rustls chose them. A state may be used by
//! one layer only: a captured `TlsLayer` neither reads nor writes, not even close_notify, until it
//! is told that nobody else has the state. That two processes agree on who has it is up to them.
//!
//! *The wrong key is used.* The expanded key of another connection, from the worker's cache: its
//! reference has an ID that is never given twice (`AeadKeys`). Keys from a secret that rustls does
//! not use: a secret is accepted only if it derives the key that rustls hands out. The secrets of
//! another handshake on the same thread: they are captured during one call of rustls.
//!
//! *A key encrypts too much.* TLS 1.3 replaces its keys before the limit, TLS 1.2 sends nothing past
//! it but the end (`RecordLayer::write`); sessions end earlier, by `session::key_limit`. The
//! integrity limits of RFC 8446 need no count: the first record that is not authentic ends the
//! connection.
//!
//! *Something is believed before it is authentic.* The header's length is checked before it is
//! waited for (`Header::parse`), everything else is read after decryption. Plaintext is passed on
//! only after the tag is verified, in constant time, by AWS-LC. change_cipher_spec is the only
//! unprotected record, and it is refused. TLS 1.3 ignores the type and the version in the header:
//! the additional data has constants instead.
//!
//! *A record hides its length or type badly, or too well.* 2^14 bytes of plaintext, padding of any
//! length, a plaintext of padding only, a type that is not known (`Protection::open`, `inbound`).
//!
//! *A message is read with two keys, or in two ways.* Parts of a handshake message with other
//! records between them, and anything behind a key update, are refused (`inbound`, `handshake`).
//! What follows a handshake is not read by rustls, but kept for this layer (`buffers`).
//!
//! *A peer keeps us busy, or makes us keep or send much.* `Budgets` bounds empty records, warnings,
//! renegotiation requests and key updates; `TlsBuffers` bounds incomplete messages by the length of
//! their records; any number of requests for a key update gets one answer, with our next record.
//!
//! *Secrets leak.* Keys, secrets and fragments are zeroized when they are dropped, and so is the
//! state ([`SecretBytes`](crate::secret_bytes::SecretBytes)), whose `Debug` prints lengths only. A
//! `KeyLog` that logs nothing passes traffic secrets on, and only while a handshake of a session
//! takes a step, even if that panics: those of health checks are dropped. Moves of a value leave
//! copies on the stack until it is used again, as in rustls; a core has the keys of the open
//! sessions, as with rustls, and those of no others that have been dropped, apart from such copies.
//! The serialized form of a state has to be zeroized by those who use it.
//!
//! # What differs from rustls
//!
//! Messages that are refused anyway, such as a Finished after the handshake, are not parsed: where
//! rustls would also find them malformed, it says so, and this layer says that they are unexpected.
//! So it is with a request for a renegotiation: where rustls would end the connection because it is
//! malformed, this layer refuses the first with no_renegotiation, and ends with the second. Tickets
//! that come after a broker's CONNACK are ignored. Nothing is sent after close_notify. The headers
//! of records of DTLS and SSL 2 are refused before decryption. `tests/fuzz` compares the two.

mod budgets;
mod established;
mod failure;
mod fragment;
mod handshake;
mod header;
mod inbound;
mod layer;
mod protection;
mod state;
#[cfg(test)]
mod tests;
mod tickets;
mod traffic_key;

pub(super) use layer::{RecordLayer, TlsWrite};
pub(super) use state::RecordState;
