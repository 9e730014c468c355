//! What the log, the admin API and brokers are told about a client's certificate.

use aws_lc_rs::digest::{SHA256, digest};

use super::{CERTIFICATE, config, device::Device, fleet, start};
use crate::{
    admin::http::get,
    broker::Broker,
    harness::PATIENCE,
    pki::{Ca, Leaf},
    proxy_protocol_out::reading,
};

fn files<'a>(server: &'a crate::pki::Issued, authority: &'a str) -> [(&'static str, &'a str); 3] {
    [("cert.pem", &server.cert), ("key.pem", &server.key), ("ca.pem", authority)]
}

fn tls() -> String {
    format!("{{ {CERTIFICATE}, client_auth: optional, client_ca: ca.pem }}")
}

#[test]
fn the_log_and_the_api_have_the_facts() {
    let ca = Ca::new("ca");
    let (server, authority) = fleet(&ca);
    let broker = Broker::echoing();
    let proxy = start(&files(&server, &authority), &config(&[&broker], &tls(), ""));
    let hosts = ["b.example", "a.example", "192.0.2.1"];
    let issued = ca.issue(&Leaf { serial: 0xDEF, ..Leaf::new("device-7", &hosts) });
    let address = proxy.address_of("mqtts");
    let _session = Device::new(Some(&issued)).session(address, "with").unwrap();
    let line = proxy.wait_connected("with");
    let hash = digest(&SHA256, &issued.der);
    let fingerprint =
        hash.as_ref().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    assert_eq!(line["tls_cn"], "device-7");
    assert_eq!(line["tls_san"], "DNS:b.example DNS:a.example");
    assert_eq!(line["tls_serial"], "0def");
    assert_eq!(line["tls_fingerprint"], *fingerprint);
    let seen = &get(&proxy, "/api/v1/sessions")["sessions"][0];
    assert_eq!(seen["tls_cn"], "device-7");
    assert_eq!(seen["tls_san"], serde_json::json!(["DNS:b.example", "DNS:a.example"]));
    assert_eq!(seen["tls_serial"], "0def");
    assert_eq!(seen["tls_fingerprint"], *fingerprint);

    let _session = Device::new(None).session(address, "without").unwrap();
    let line = proxy.wait_connected("without");
    for field in ["tls_cn", "tls_san", "tls_serial", "tls_fingerprint"] {
        assert!(line.get(field).is_none(), "{field}");
    }
}

/// A broker that refuses the header would count as faulty.
#[test]
fn no_control_character_reaches_a_broker() {
    let ca = Ca::new("ca");
    let (server, authority) = fleet(&ca);
    let (broker, seen) = reading();
    let pool = "send_proxy_protocol: v2,";
    let proxy = start(&files(&server, &authority), &config(&[&broker], &tls(), pool));
    for (id, name, is_sent) in [
        ("null", "evil\0name", false),
        ("line", "evil\nname", false),
        ("quoted", "evil\"name", true),
        ("star", "evil*name", true),
    ] {
        let device = Device::new(Some(&ca.issue(&Leaf::new(name, &[]))));
        let _session = device.session(proxy.address_of("mqtts"), id).unwrap();
        let line = proxy.wait_connected(id);
        assert_eq!(line["tls_cn"].as_str(), is_sent.then_some(name), "{id}");
        let (header, _) = seen.recv_timeout(PATIENCE).unwrap();
        let has_it = header.windows(name.len()).any(|part| part == name.as_bytes());
        assert_eq!(has_it, is_sent, "{id}");
    }
}
