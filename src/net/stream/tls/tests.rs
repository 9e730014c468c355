use super::TlsLayer;

/// Bounds the size in bytes of an idle connection, which has no other memory, so that it does not grow
/// unnoticed.
#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<TlsLayer>() <= 512, "{} bytes", size_of::<TlsLayer>());
}
