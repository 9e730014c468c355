//! Addresses: to listen on, of brokers and of name servers.

use std::time::Duration;

use mqtt_lb::testing::config::{Address, Bind, LogLevel, LogTarget};

use crate::{SMALLEST, faults, good, parse, tail, with};

#[test]
fn binds_do_not_overlap() {
    let two = |first: &str, second: &str| {
        let text = with("0.0.0.0:1883", &format!("\"{first}\""));
        let second =
            format!("    pool: brokers\n  - {{ name: two, bind: \"{second}\", pool: brokers }}\n");
        parse(&text.replace("    pool: brokers\n", &second)).map_err(|faults| faults.to_string())
    };
    for (first, second) in [
        ("0.0.0.0:1883", "127.0.0.1:1883"),
        ("127.0.0.1:1883", "0.0.0.0:1883"),
        ("127.0.0.1:1883", "127.0.0.1:1883"),
        ("[::]:1883", "[::1]:1883"),
        ("unix:/dev/m.sock", "unix:/dev/m.sock"),
    ] {
        assert_eq!(
            two(first, second).expect_err(second),
            "/etc/t.yaml:5:24: listeners[1].bind: overlaps listeners[0].bind; allowed: an address \
             or port of its own"
        );
    }
    for (first, second) in [
        ("0.0.0.0:1883", "0.0.0.0:1884"),
        ("127.0.0.1:1883", "127.0.0.2:1883"),
        ("0.0.0.0:1883", "[::]:1883"),
        ("0.0.0.0:0", "0.0.0.0:0"),
        ("unix:/dev/m.sock", "unix:/dev/n.sock"),
    ] {
        two(first, second).expect(second);
    }
    assert_eq!(
        tail("admin: { bind: 127.0.0.1:1883 }\n"),
        ["10:16: admin.bind: overlaps listeners[0].bind; allowed: an address or port of its own"]
    );
}

#[test]
fn listen_addresses_are_addresses_of_this_host() {
    let bind = |text: &str| parse(&with("0.0.0.0:1883", text)).map(|c| c.listeners[0].bind.clone());
    assert_eq!(bind("\"[::1]:1883\"").unwrap(), Bind::Tcp("[::1]:1883".parse().unwrap()));
    assert_eq!(bind("unix:/dev/m.sock").unwrap(), Bind::Unix("/dev/m.sock".into()));
    // Relative to the config's folder.
    assert_eq!(bind("unix:m.sock").unwrap(), Bind::Unix("/etc/m.sock".into()));
    let allowed = "allowed: IP:PORT, \"[IPV6]:PORT\" or unix:/PATH";
    for (text, wrong) in [
        ("localhost:1883", format!("\"localhost:1883\" is a host name; {allowed}")),
        ("1883", format!("\"1883\" has no valid port; {allowed}")),
        ("\"*:1883\"", format!("\"*:1883\" is not an address; {allowed}")),
        ("\":1883\"", format!("\":1883\" is not an address; {allowed}")),
        ("\"\"", format!("\"\" has no valid port; {allowed}")),
        ("\"::1\"", format!("\"::1\" is IPv6 without brackets; {allowed}")),
        (
            "\"[::ffff:1.2.3.4]:1\"",
            format!("\"[::ffff:1.2.3.4]:1\" is IPv4 written as IPv6; {allowed}"),
        ),
        ("0.0.0.0:65536", format!("\"0.0.0.0:65536\" has no valid port; {allowed}")),
        ("[a]", format!("is a list; {allowed}")),
        (
            "\"unix:\"",
            "\"\" is not the path of a socket; allowed: a path of 1 to 107 bytes, its folder included"
                .into(),
        ),
        (
            "unix:/no/such/m",
            "the folder of \"/no/such/m\" is missing; allowed: a folder that exists".into(),
        ),
    ] {
        let faults = bind(text).expect_err(text);
        assert_eq!(faults.to_string(), format!("/etc/t.yaml:3:11: listeners[0].bind: {wrong}"));
    }
    let longest = format!("unix:/dev/{}", "a".repeat(102));
    bind(&longest).unwrap();
    bind(&format!("{longest}a")).unwrap_err();
}

#[test]
fn broker_addresses_may_be_host_names() {
    let address = |text: &str| {
        parse(&with("10.0.0.7:1883", text)).map(|c| c.pools[0].upstreams[0].address.clone())
    };
    assert_eq!(
        address("\"[2001:db8::1]:1883\"").unwrap(),
        Address::Ip("[2001:db8::1]:1883".parse().unwrap())
    );
    assert_eq!(
        address("broker_1.internal:1").unwrap(),
        Address::Host("broker_1.internal".into(), 1)
    );
    assert_eq!(
        address("mqtt.example.:65535").unwrap(),
        Address::Host("mqtt.example.".into(), 65535)
    );
    assert_eq!(address("unix:/no/such/m").unwrap(), Address::Unix("/no/such/m".into()));
    for text in [
        "broker",
        "\"broker:\"",
        "broker:+1",
        "broker:0",
        "broker:65536",
        "tcp://broker:1883",
        "10.0.0.300:1883",
        "a..b:1",
        "-a:1",
        "a b:1",
        "\"2001:db8::1:1883\"",
        "\"[::1]\"",
        "10.0.0.7:0",
    ] {
        let lines = faults(&with("10.0.0.7:1883", text));
        assert_eq!(lines.len(), 1, "{text}: {lines:?}");
        assert!(lines[0].starts_with("9:18: pools[0].upstreams[0].address: "), "{lines:?}");
    }
}

#[test]
fn environment_variables_are_expanded_in_every_value() {
    let config = good(&format!(
        "{}access_log: [{{ path: \"${{FOLDER}}/${{HOST}}.log\" }}]\n",
        with("10.0.0.7:1883", "${HOST}:1883")
    ));
    assert_eq!(config.pools[0].upstreams[0].address, Address::Ip("10.9.8.7:1883".parse().unwrap()));
    assert_eq!(config.access_log[0].to, LogTarget::File("/dev/10.9.8.7.log".into()));
    assert_eq!(
        tail("access_log: [{ path: \"/dev/${A\\nB}\" }, { path: \"/dev/${HOST\" }]\n"),
        [
            "10:22: access_log[0].path: the environment variable \"A\\nB\" is not set; allowed: \
             ${NAME} of a variable that is set, or ${NAME:-default}",
            "10:48: access_log[1].path: \"/dev/${HOST\" has ${ without }; allowed: ${NAME} of a \
             variable that is set, or ${NAME:-default}",
        ]
    );
    assert_eq!(
        tail("drain: { timeout: \"${HOST}\" }\n"),
        ["10:19: drain.timeout: \"10.9.8.7\" is not a duration; allowed: a whole number with ms, \
             s, m or h, such as 500ms, 10s, 5m, 1h"]
    );
}

#[test]
fn an_unset_or_empty_variable_gives_the_default() {
    let text = with("10.0.0.7:1883", "${UNSET:-10.0.0.8}:${UNSET:-1883}");
    let config = good(&format!(
        "{text}        weight: ${{UNSET:-7}}\n        backup: \"${{UNSET:-true}}\"\n\
         \x20     - {{ name: \"b-${{HOST}}\", address: \"${{HOST:-x}}:1\" }}\n\
         drain: {{ timeout: \"${{EMPTY:-5s}}\" }}\nlog: {{ level: \"${{UNSET:-debug}}\" }}\n"
    ));
    let [first, second] = &config.pools[0].upstreams[..] else { panic!("{config:?}") };
    assert_eq!(first.address, Address::Ip("10.0.0.8:1883".parse().unwrap()));
    assert_eq!((first.weight.get(), first.backup), (7, true));
    assert_eq!(second.address, Address::Ip("10.9.8.7:1".parse().unwrap()));
    assert_eq!(&*second.name, "b-10.9.8.7");
    assert_eq!(config.drain.timeout, Duration::from_secs(5));
    assert_eq!(config.log.level, LogLevel::Debug);
    assert_eq!(
        tail("drain: { timeout: \"${UNSET:-soon}\" }\n"),
        [
            "10:19: drain.timeout: \"soon\" is not a duration; allowed: a whole number with ms, s, m \
          or h, such as 500ms, 10s, 5m, 1h"
        ]
    );
}

#[test]
fn name_servers_are_ip_addresses_with_ports() {
    let servers = |list: &str| {
        parse(&format!("{SMALLEST}dns: {{ servers: {list} }}\n")).map(|config| config.dns.servers)
    };
    let expected = vec!["10.9.8.7:53".parse().unwrap(), "[::1]:5353".parse().unwrap()];
    assert_eq!(servers("[\"${HOST}:53\", \"[::1]:5353\"]").unwrap(), expected);
    assert_eq!(good(&format!("{SMALLEST}dns: {{}}\n")).dns.servers, []);
    let allowed = "allowed: IP:PORT or \"[IPV6]:PORT\"";
    for (list, column, wrong) in [
        ("[10.0.0.53]", 18, format!("[0]: \"10.0.0.53\" has no valid port; {allowed}")),
        ("[\"::1\"]", 18, format!("[0]: \"::1\" is IPv6 without brackets; {allowed}")),
        (
            "[\"[::1]:53\", ns.internal:53]",
            30,
            format!("[1]: \"ns.internal:53\" is not an IP address; {allowed}"),
        ),
        (
            "[\"unix:/run/dns\"]",
            18,
            format!("[0]: \"unix:/run/dns\" is not an IP address; {allowed}"),
        ),
        (
            "[10.0.0.53:0]",
            18,
            "[0]: \"10.0.0.53:0\" has port 0; allowed: a port from 1 to 65535".into(),
        ),
        ("10.0.0.53:53", 17, ": is a single value; allowed: a list".into()),
        ("[]", 17, ": is an empty list; allowed: one entry or more".into()),
    ] {
        let faults = servers(list).expect_err(list).to_string();
        assert_eq!(faults, format!("/etc/t.yaml:10:{column}: dns.servers{wrong}"));
    }
}
