use super::TlsLayer;

/// Bounds the size in bytes of an idle connection, so that it does not grow unnoticed. With
/// TLS_AES_128_GCM_SHA256 it has no other memory; the keys of other suites take up to 92 bytes more
/// for each direction.
#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<TlsLayer>() <= 248, "{} bytes", size_of::<TlsLayer>());
}
