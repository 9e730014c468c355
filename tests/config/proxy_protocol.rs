//! Whose PROXY headers are believed, and which ones brokers are sent.

use std::net::IpAddr;

use mqtt_lb::testing::config::{PassedTlvs, ProxyProtocolIn, ProxyProtocolOut};

use crate::{faults, in_pool, parse, with};

/// What is read of a listener's entry, which stands in line 4.
fn accept(entry: &str) -> Result<ProxyProtocolIn, Vec<String>> {
    listening("0.0.0.0:1883", entry)
}

fn listening(bind: &str, entry: &str) -> Result<ProxyProtocolIn, Vec<String>> {
    let text = with(
        "    bind: 0.0.0.0:1883\n",
        &format!("    bind: {bind}\n    accept_proxy_protocol: {entry}\n"),
    );
    match parse(&text) {
        Ok(config) => Ok(config.listeners[0].proxy_protocol.clone().unwrap()),
        Err(_) => Err(faults(&text)),
    }
}

fn is_from(balancers: &ProxyProtocolIn, ip: &str) -> bool {
    balancers.is_from(Some(ip.parse::<IpAddr>().unwrap()))
}

#[test]
fn peers_are_networks_and_addresses() {
    let from = "[10.0.0.0/8, 192.0.2.7, \"2001:db8::/32\", \"::1\", \"${HOST}\"]";
    let balancers = accept(&format!("{{ from: {from} }}")).unwrap();
    for inside in ["10.255.0.1", "192.0.2.7", "2001:db8:1::1", "::1", "10.9.8.7", "::ffff:10.0.0.1"]
    {
        assert!(is_from(&balancers, inside), "{inside}");
    }
    for outside in ["11.0.0.1", "192.0.2.8", "2001:db9::", "::2", "127.0.0.1", "::ffff:11.0.0.1"] {
        assert!(!is_from(&balancers, outside), "{outside}");
    }
    assert!(!balancers.is_from(None));
    let everyone = accept("{ from: [0.0.0.0/0, \"::/0\"] }").unwrap();
    assert!(is_from(&everyone, "192.0.2.1") && is_from(&everyone, "2001:db8::1"));
}

#[test]
fn the_proxy_source_of_a_unix_socket_is_unix() {
    let local = listening("unix:/dev/mqtt.sock", "{ from: [unix] }").unwrap();
    assert!(local.is_from(None) && !is_from(&local, "127.0.0.1"));
    assert_eq!(
        listening("unix:/dev/mqtt.sock", "{ from: [unix, 127.0.0.1] }").unwrap_err(),
        [
            "4:43: listeners[0].accept_proxy_protocol.from[1]: a network does not apply to a listener \
          on a unix socket, whose peers have no address; allowed: unix"
        ]
    );
}

#[test]
fn faults_of_networks() {
    let of_network = "allowed: IP/PREFIX or IP, such as 10.0.0.0/8, \"2001:db8::/32\", 10.0.0.7";
    let of_from = "allowed: networks and addresses such as 10.0.0.0/8, \"2001:db8::/32\", \
                   10.0.0.7, or unix";
    let first = "4:37: listeners[0].accept_proxy_protocol.from[0]: ";
    for (from, said) in [
        ("[10.0.0.0/33]", format!("{first}\"10.0.0.0/33\" is not a network; {of_network}")),
        ("[balancer]", format!("{first}\"balancer\" is not a network; {of_network}")),
        ("[10.0.0.7:1883]", format!("{first}\"10.0.0.7:1883\" is not a network; {of_network}")),
        ("[\"\"]", format!("{first}\"\" is not a network; {of_network}")),
        (
            "[10.0.0.7/8]",
            format!(
                "{first}\"10.0.0.7/8\" has bits set after its prefix; allowed: \
                 10.0.0.0/8, or 10.0.0.7"
            ),
        ),
        (
            "[\"::ffff:10.0.0.0/104\"]",
            format!("{first}\"::ffff:10.0.0.0/104\" is IPv4 written as IPv6; {of_network}"),
        ),
        (
            "[unix]",
            format!("{first}`unix` applies only to listeners on a unix socket; {of_network}"),
        ),
        ("[[]]", format!("{first}is a list; {of_from}")),
        (
            "[]",
            "4:36: listeners[0].accept_proxy_protocol.from: is an empty list; allowed: one entry \
             or more"
                .to_owned(),
        ),
        (
            "10.0.0.0/8",
            "4:36: listeners[0].accept_proxy_protocol.from: is a single value; allowed: a list"
                .to_owned(),
        ),
        ("", format!("4:28: listeners[0].accept_proxy_protocol.from: is required; {of_from}")),
    ] {
        assert_eq!(accept(&format!("{{ from: {from} }}")).unwrap_err(), [said], "{from}");
    }
    assert_eq!(
        accept("{ form: [10.0.0.0/8] }").unwrap_err(),
        [
            format!("4:28: listeners[0].accept_proxy_protocol.from: is required; {of_from}"),
            "4:30: listeners[0].accept_proxy_protocol.form: is an unknown key (did you mean \
             from?); allowed: from, required, tlvs"
                .to_owned(),
        ]
    );
    assert_eq!(
        accept("on").unwrap_err(),
        [
            "4:28: listeners[0].accept_proxy_protocol: is a single value; allowed: a mapping of keys \
          to values"
        ]
    );
    // Where bind cannot be read, nothing is said of who can come there.
    assert_eq!(listening("nowhere", "{ from: [unix] }").unwrap_err().len(), 1);
}

#[test]
fn send_proxy_protocol_is_a_version_or_none() {
    let sent = |word: &str| {
        in_pool(&format!("send_proxy_protocol: {word}"))
            .map(|config| config.pools[0].send_proxy_protocol.clone())
    };
    assert_eq!(sent("none").unwrap(), None);
    assert_eq!(sent("").unwrap(), None);
    assert_eq!(sent("v1").unwrap(), Some(ProxyProtocolOut::V1));
    let no_tlvs = PassedTlvs::Listed(Vec::new());
    assert_eq!(sent("v2").unwrap(), Some(ProxyProtocolOut::V2 { cn: None, tlvs: no_tlvs }));
    for (word, said) in [
        ("2", "7:26: pools[0].send_proxy_protocol: \"2\" is unknown; allowed: none, v1, v2"),
        ("true", "7:26: pools[0].send_proxy_protocol: \"true\" is unknown; allowed: none, v1, v2"),
        (
            "[v2]",
            "7:26: pools[0].send_proxy_protocol: is a list; allowed: none, v1, v2, or a mapping of keys to values",
        ),
    ] {
        assert_eq!(sent(word).unwrap_err(), [said]);
    }
}

#[test]
fn required_headers_and_kept_tlvs() {
    let plain = accept("{ from: [10.0.0.0/8] }").unwrap();
    assert_eq!((plain.required, plain.tlvs), (true, vec![]));
    let all =
        accept("{ from: [10.0.0.0/8], required: false, tlvs: [0xEA, \"0Xe0\", 48] }").unwrap();
    assert_eq!((all.required, all.tlvs), (false, vec![0xEA, 0xE0, 48]));
    let kind = "0x00 to 0xFF, such as 0xEA";
    for (tlvs, wanted) in [
        ("[]", "56: tlvs: is an empty list; allowed: one entry or more".to_owned()),
        ("[0x100]", format!("57: tlvs[0]: \"0x100\" is not a type of a TLV; allowed: {kind}")),
        ("[EA]", format!("57: tlvs[0]: \"EA\" is not a type of a TLV; allowed: {kind}")),
        ("[256]", format!("57: tlvs[0]: \"256\" is not a type of a TLV; allowed: {kind}")),
        ("[0x]", format!("57: tlvs[0]: \"0x\" is not a type of a TLV; allowed: {kind}")),
        ("[0x+1]", format!("57: tlvs[0]: \"0x+1\" is not a type of a TLV; allowed: {kind}")),
        ("[0xEA, 234]", "63: tlvs[1]: is listed twice; allowed: each entry once".to_owned()),
        (
            "[0x03]",
            "57: tlvs[0]: 0x03 has no content: it is the checksum, or padding; allowed: other types"
                .to_owned(),
        ),
    ] {
        let (column, rest) = wanted.split_once(": ").unwrap();
        let wanted = format!("4:{column}: listeners[0].accept_proxy_protocol.{rest}");
        let said = accept(&format!("{{ from: [10.0.0.0/8], tlvs: {tlvs} }}")).unwrap_err();
        assert_eq!(said, [wanted], "{tlvs}");
    }
    let many: Vec<_> = (100..117).map(|kind| kind.to_string()).collect();
    let said = accept(&format!("{{ from: [10.0.0.0/8], tlvs: [{}] }}", many.join(", ")));
    assert!(said.unwrap_err()[0].ends_with("tlvs: has 17 entries; allowed: up to 16"));
}

#[test]
fn passed_tlvs() {
    let sent = |keys: &str| {
        in_pool(&format!("send_proxy_protocol: {{ {keys} }}"))
            .map(|config| config.pools[0].send_proxy_protocol.clone().unwrap())
    };
    let v2 = |tlvs| ProxyProtocolOut::V2 { cn: None, tlvs };
    let listed = PassedTlvs::Listed(vec![0xEA, 0xE0]);
    assert_eq!(sent("version: v2, tlvs: [0xEA, 0xE0]").unwrap(), v2(listed));
    assert_eq!(sent("version: v2, tlvs: all").unwrap(), v2(PassedTlvs::All));
    for (tlvs, wanted) in [
        ("[]", "47: send_proxy_protocol.tlvs: is an empty list; allowed: one entry or more"),
        (
            "none",
            "47: send_proxy_protocol.tlvs: \"none\" is unknown; allowed: all, or a list of 0x00 to \
             0xFF, such as 0xEA",
        ),
        (
            "{}",
            "47: send_proxy_protocol.tlvs: is a mapping; allowed: all, or a list of 0x00 to 0xFF, \
             such as 0xEA",
        ),
        (
            "[0x20]",
            "48: send_proxy_protocol.tlvs[0]: 0x20 is written by the proxy itself; allowed: other \
             types",
        ),
    ] {
        let said = sent(&format!("version: v2, tlvs: {tlvs}")).unwrap_err();
        assert_eq!(
            said,
            [wanted.replacen("", "7:", 1).replace(": send", ": pools[0].send")],
            "{tlvs}"
        );
    }
    let said = sent("version: v1, tlvs: all").unwrap_err();
    assert!(
        said[0].ends_with("is given without version 2; allowed: tlvs together with version: v2")
    );
}
