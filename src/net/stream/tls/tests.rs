use super::TlsLayer;

/// Bounds the size in bytes of an idle connection without its keys, so that it does not grow
/// unnoticed.
#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<TlsLayer>() <= 1536, "{} bytes", size_of::<TlsLayer>());
}
