//! Sessions whose TLS the broker ends.

use serde_json::Value;

use super::{config, tls_broker};
use crate::{
    harness::end,
    tls_client::{Pki, TlsClient, Versions},
};

#[test]
fn both_versions() {
    let pki = Pki::new();
    let (broker, issued) = tls_broker(&pki, &["localhost"]);
    let proxy = config([&broker]).start();
    for (n, versions) in [Versions::Both, Versions::Only12].into_iter().enumerate() {
        let client = pki.client().versions(versions).open(proxy.address());
        let mut client = client.session("hidden");
        assert_eq!(client.certificate(), issued.der, "the broker's own certificate");
        client.echo(&vec![7; 1 << 20]);
        client.finish();
        assert_eq!(client.rest(), (Vec::new(), true));
        let lines = proxy.wait_ends(n + 1);
        let line = &lines[n];
        // The broker may close on the close_notify, which comes before the client's own end.
        assert!(end(line).ends_with("/relay/closed"), "{line}");
        let facts = ["event", "transport", "sni", "pool", "upstream", "route"];
        assert_eq!(
            facts.map(|field| line[field].as_str().unwrap()),
            ["disconnect", "tls_passthrough", "localhost", "brokers", "b1", "hash"]
        );
        for hidden in ["client_id", "protocol_version", "keepalive", "connack", "tls_version"] {
            assert_eq!(line[hidden], Value::Null, "{hidden}");
        }
        let bytes = [&line["bytes_in"], &line["bytes_out"]].map(|count| count.as_u64().unwrap());
        assert!(bytes.iter().all(|count| *count > 1 << 20), "{bytes:?}");
    }
    let connects = proxy.log().into_iter().filter(|line| line["event"] == "connect");
    assert_eq!(connects.filter(|line| line["sni"] == "localhost").count(), 2);
    assert_eq!(proxy.metric("mqtt_lb_sessions_total", &["version=\"passthrough\""]) as u64, 2);
}

/// Two tenants, each with a broker that has the certificate of its host.
#[test]
fn brokers_by_server_name() {
    let pki = Pki::new();
    let hosts: Vec<String> = (0..8).map(|n| format!("tenant{n}.example")).collect();
    let names: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let brokers = [tls_broker(&pki, &names), tls_broker(&pki, &names)];
    let proxy = config(brokers.iter().map(|(broker, _)| broker)).start();
    let trust = pki.client().config();
    let mut used = std::collections::BTreeSet::new();
    for name in &names {
        let certificates: Vec<_> = (0..3)
            .map(|_| TlsClient::open(&trust, proxy.address(), name).session("c").certificate())
            .collect();
        assert!(certificates.iter().all(|one| *one == certificates[0]), "{name} changed brokers");
        used.insert(certificates[0].clone());
    }
    assert_eq!(used.len(), 2, "eight names, and one broker");
}
