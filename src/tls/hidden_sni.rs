//! Handshakes with clients whose server name is not a host name.
//!
//! rustls refuses them with illegal_parameter; other servers ignore such a name, as RFC 6066,
//! section 3, allows. Here the extension is given a type that rustls does not know before rustls
//! reads the ClientHello. Both sides prove what they have sent and received by a hash of it (RFC
//! 8446, section 4.4.1), so the type is restored before that is computed: in both ClientHellos, if
//! there are two, as the hash of the first one is made of its restored bytes. Only these clients'
//! connections use the suites of this file.

use std::sync::{Arc, LazyLock};

use rustls::{
    SupportedCipherSuite, Tls12CipherSuite, Tls13CipherSuite,
    crypto::{
        CipherSuiteCommon, CryptoProvider,
        hash::{Context, Hash, HashAlgorithm, Output},
    },
};

use super::provider::server_provider;

/// The type of a ClientHello, and the length of that and its own length (RFC 8446, section 4).
const CLIENT_HELLO: u8 = 1;
const MESSAGE_HEADER_BYTES: usize = 4;
/// The version and the random bytes (RFC 8446, section 4.1.2).
const VERSION_AND_RANDOM_BYTES: usize = 2 + 32;

/// The extension (RFC 6066, section 3), and a type for private use in its place (RFC 8446, section
/// 11).
const SERVER_NAME: [u8; 2] = [0, 0];
const HIDDEN: [u8; 2] = [0xFF, 0xB5];

/// Hides the server name of a ClientHello from rustls; false if it has no name, or a second one,
/// which rustls has to see, or if the hidden type is in use.
pub(crate) fn hide_server_name(message: &mut [u8]) -> bool {
    if find_extension(message, HIDDEN).is_some() {
        return false;
    }
    let Some(at) = find_extension(message, SERVER_NAME) else { return false };
    message[at..at + 2].copy_from_slice(&HIDDEN);
    find_extension(message, SERVER_NAME).is_none()
}

/// The ClientHello as the client has sent it; `None` if nothing is hidden. Other messages may
/// follow it.
pub(super) fn restored(messages: &[u8]) -> Option<Vec<u8>> {
    let at = find_extension(messages, HIDDEN)?;
    let mut messages = messages.to_vec();
    messages[at..at + 2].copy_from_slice(&SERVER_NAME);
    Some(messages)
}

/// The position of an extension's type in a ClientHello, which may be cut after it, as for the
/// binder of a ticket (RFC 8446, section 4.2.11.2).
fn find_extension(message: &[u8], kind: [u8; 2]) -> Option<usize> {
    if *message.first()? != CLIENT_HELLO {
        return None;
    }
    let length = |at: usize, width: usize| -> Option<usize> {
        let bytes = message.get(at..at + width)?;
        Some(bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
    };
    let end = MESSAGE_HEADER_BYTES + length(1, 3)?;
    let mut at = MESSAGE_HEADER_BYTES + VERSION_AND_RANDOM_BYTES;
    // The session ID, the cipher suites, the compression methods.
    for width in [1, 2, 1] {
        at += width + length(at, width)?;
    }
    let end = end.min(at + 2 + length(at, 2)?);
    at += 2;
    while at < end {
        if message.get(at..at + 2)? == kind {
            return Some(at);
        }
        at += 4 + length(at + 2, 2)?;
    }
    None
}

/// The provider for connections whose ClientHello has a hidden name.
pub(super) fn restoring_provider() -> Arc<CryptoProvider> {
    // rustls asks for suites that live as long as the process.
    static SUITES: LazyLock<Vec<SupportedCipherSuite>> =
        LazyLock::new(|| server_provider().cipher_suites.iter().map(restoring_suite).collect());
    let suites = SUITES.iter();
    let provider = server_provider();
    // In the order of the other connections.
    let ordered = provider.cipher_suites.iter().filter_map(|suite| {
        suites.clone().find(|restoring| restoring.suite() == suite.suite()).copied()
    });
    Arc::new(CryptoProvider { cipher_suites: ordered.collect(), ..(*provider).clone() })
}

fn restoring_suite(suite: &SupportedCipherSuite) -> SupportedCipherSuite {
    let common = |common: &CipherSuiteCommon| CipherSuiteCommon {
        suite: common.suite,
        hash_provider: Box::leak(Box::new(RestoringHash(common.hash_provider))),
        confidentiality_limit: common.confidentiality_limit,
    };
    match suite {
        SupportedCipherSuite::Tls12(suite) => {
            SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
                common: common(&suite.common),
                prf_provider: suite.prf_provider,
                kx: suite.kx,
                sign: suite.sign,
                aead_alg: suite.aead_alg,
            })))
        }
        SupportedCipherSuite::Tls13(suite) => {
            SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
                common: common(&suite.common),
                hkdf_provider: suite.hkdf_provider,
                aead_alg: suite.aead_alg,
                quic: suite.quic,
            })))
        }
    }
}

/// The hash of the messages as the client has sent them.
struct RestoringHash(&'static dyn Hash);

impl Hash for RestoringHash {
    fn start(&self) -> Box<dyn Context> {
        Box::new(RestoringContext(self.0.start()))
    }

    fn hash(&self, data: &[u8]) -> Output {
        self.0.hash(restored(data).as_deref().unwrap_or(data))
    }

    fn output_len(&self) -> usize {
        self.0.output_len()
    }

    fn algorithm(&self) -> HashAlgorithm {
        self.0.algorithm()
    }
}

struct RestoringContext(Box<dyn Context>);

impl Context for RestoringContext {
    fn fork_finish(&self) -> Output {
        self.0.fork_finish()
    }

    fn fork(&self) -> Box<dyn Context> {
        Box::new(Self(self.0.fork()))
    }

    fn finish(self: Box<Self>) -> Output {
        self.0.finish()
    }

    fn update(&mut self, data: &[u8]) {
        self.0.update(restored(data).as_deref().unwrap_or(data));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(extensions: &[u8]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([1, 9, 0, 2, 0x13, 1, 1, 0]);
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        [&[CLIENT_HELLO, 0, 0, body.len() as u8], &body[..]].concat()
    }

    #[test]
    fn a_name_is_hidden_and_restored() {
        let named = hello(b"\0\x0A\0\x04\0\x02\0\x1D\0\0\0\x06\0\x04\0\0\x01:\0\x2D\0\x01\x01");
        let mut hidden = named.clone();
        assert!(hide_server_name(&mut hidden));
        assert_ne!(hidden, named);
        assert_eq!(restored(&hidden), Some(named.clone()));
        assert!(!hide_server_name(&mut hidden), "it is hidden already");
        assert_eq!(restored(&named), None);
        // Cut after the name, and with another message behind it.
        let cut = named.len() - 5;
        assert_eq!(restored(&hidden[..cut]), Some(named[..cut].to_vec()));
        assert_eq!(
            restored(&[&hidden[..], b"\x02"].concat()),
            Some([&named[..], b"\x02"].concat())
        );
        for len in 0..hidden.len() {
            let _ = restored(&hidden[..len]);
        }
    }

    #[test]
    fn nothing_to_hide() {
        for extensions in [&b""[..], b"\0\x2D\0\x01\x01", b"\0\x2D\xFF\xFF\x01", b"\0"] {
            assert!(!hide_server_name(&mut hello(extensions)), "{extensions:?}");
        }
        // What follows the extensions, or another message.
        assert_eq!(
            find_extension(&[&hello(b"\0\x2D\0\0")[..], b"\0\0\0\0"].concat(), [0, 0]),
            None
        );
        // A second name, or the hidden type.
        for extensions in [&b"\0\0\0\0\0\0\0\0"[..], b"\0\0\0\0\xFF\xB5\0\0"] {
            assert!(!hide_server_name(&mut hello(extensions)), "{extensions:?}");
        }
        let mut other = hello(b"\0\0\0\0");
        other[0] = 2;
        assert!(!hide_server_name(&mut other));
    }
}
