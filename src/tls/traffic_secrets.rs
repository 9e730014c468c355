//! The traffic secrets of TLS 1.3, which rustls gives only to a [`KeyLog`].
//!
//! A session needs them to follow key updates (RFC 8446, section 7.2) once rustls has made its
//! handshake. Nothing is logged: a secret goes to the code that drives the handshake on this thread,
//! and is zeroized if that drops it.

use std::{cell::RefCell, fmt, sync::Arc};

use rustls::KeyLog;
use zeroize::Zeroizing;

/// The length of the longest secret: the output of SHA-384.
pub(crate) const MAX_SECRET_BYTES: usize = 48;

/// The secrets from which both sides' first application traffic keys are derived.
#[derive(Default)]
pub(crate) struct TrafficSecrets {
    pub(crate) client: Option<TrafficSecret>,
    pub(crate) server: Option<TrafficSecret>,
}

/// A secret, followed by zeros.
pub(crate) type TrafficSecret = Zeroizing<[u8; MAX_SECRET_BYTES]>;

thread_local! {
    /// `None` unless [`capture`] runs.
    static CAPTURED: RefCell<Option<TrafficSecrets>> = const { RefCell::new(None) };
}

/// Runs `step`, a step of one handshake, and returns the secrets that it derived.
pub(crate) fn capture<R>(step: impl FnOnce() -> R) -> (R, TrafficSecrets) {
    let _capturing = Capturing::begin();
    let result = step();
    (result, CAPTURED.take().unwrap_or_default())
}

/// Ends the capture even if the step panics: nothing may be kept then, nor captured from others.
struct Capturing;

impl Capturing {
    fn begin() -> Self {
        CAPTURED.set(Some(TrafficSecrets::default()));
        Self
    }
}

impl Drop for Capturing {
    fn drop(&mut self) {
        CAPTURED.set(None);
    }
}

/// Passes secrets to [`capture`]; outside of it, as for a health check, it drops them.
pub fn secret_capture() -> Arc<dyn KeyLog> {
    Arc::new(SecretCapture)
}

#[derive(Debug)]
struct SecretCapture;

impl KeyLog for SecretCapture {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        CAPTURED.with_borrow_mut(|captured| {
            let Some(captured) = captured else { return };
            let Some(place) = captured.place(label) else { return };
            let mut copy = TrafficSecret::new([0; MAX_SECRET_BYTES]);
            if let Some(start) = copy.get_mut(..secret.len()) {
                start.copy_from_slice(secret);
                *place = Some(copy);
            }
        });
    }

    fn will_log(&self, label: &str) -> bool {
        CAPTURED.with_borrow_mut(|captured| {
            captured.as_mut().is_some_and(|captured| captured.place(label).is_some())
        })
    }
}

impl TrafficSecrets {
    /// Where the secret with this label is kept.
    fn place(&mut self, label: &str) -> Option<&mut Option<TrafficSecret>> {
        match label {
            "CLIENT_TRAFFIC_SECRET_0" => Some(&mut self.client),
            "SERVER_TRAFFIC_SECRET_0" => Some(&mut self.server),
            _ => None,
        }
    }

    /// Takes the secrets that `newer` has.
    pub(crate) fn extend(&mut self, newer: Self) {
        self.client = newer.client.or(self.client.take());
        self.server = newer.server.or(self.server.take());
    }
}

impl fmt::Debug for TrafficSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TrafficSecrets(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn log(label: &str) {
        SecretCapture.log(label, b"random", &[7; 32]);
    }

    #[test]
    fn only_during_a_step() {
        log("CLIENT_TRAFFIC_SECRET_0");
        let ((), secrets) = capture(|| {
            log("SERVER_TRAFFIC_SECRET_0");
            log("EXPORTER_SECRET");
        });
        assert!(secrets.client.is_none() && secrets.server.is_some());
        assert_eq!(format!("{secrets:?}"), "TrafficSecrets(..)");
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            capture(|| {
                log("CLIENT_TRAFFIC_SECRET_0");
                panic!("in a step");
            })
        }));
        assert!(panicked.is_err());
        assert!(CAPTURED.take().is_none());
        assert!(!SecretCapture.will_log("CLIENT_TRAFFIC_SECRET_0"));
    }
}
