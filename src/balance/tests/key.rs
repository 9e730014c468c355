//! Keys from clients.

use std::net::IpAddr;

use crate::{
    balance::key::{Choice, EmptyClientId, KeyTemplate},
    template::{ClientFields, TemplateError, VariableError},
};

fn template(text: &str) -> KeyTemplate {
    text.parse().unwrap()
}

fn client<'a>(client_id: &'a str, username: Option<&'a str>) -> ClientFields<'a> {
    ClientFields {
        client_id,
        username,
        source_ip: Some(IpAddr::from([10, 0, 0, 7])),
        ..ClientFields::default()
    }
}

fn render(text: &str, client: &ClientFields<'_>) -> Option<String> {
    // Left over from the previous client.
    let mut scratch = b"old".to_vec();
    let key = template(text).render(client, &mut scratch)?;
    Some(String::from_utf8(key.to_vec()).unwrap())
}

#[test]
fn fields_and_templates_render() {
    let client = client("sensor-1", Some("alice"));
    for (text, expected) in [
        ("client_id", "sensor-1"),
        ("username", "alice"),
        ("source_ip", "10.0.0.7"),
        ("${client_id}", "sensor-1"),
        ("${source_ip}", "10.0.0.7"),
        ("${username}/${client_id}", "alice/sensor-1"),
        ("${username}${client_id}", "alicesensor-1"),
        ("<${client_id}@${source_ip}>", "<sensor-1@10.0.0.7>"),
        ("$ } {${client_id}}", "$ } {sensor-1}"),
    ] {
        assert_eq!(render(text, &client).as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn what_tls_said_renders() {
    let client = ClientFields {
        tls_cn: Some("device 7"),
        sni: Some("eu.example.com"),
        ..client("sensor-1", Some("alice"))
    };
    for (text, expected) in [
        ("tls_cn", "device 7"),
        ("sni", "eu.example.com"),
        ("${sni}", "eu.example.com"),
        ("${sni}/${tls_cn}/${client_id}", "eu.example.com/device 7/sensor-1"),
    ] {
        assert_eq!(render(text, &client).as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn a_bare_field_is_borrowed() {
    let client = ClientFields { tls_cn: Some("device 7"), ..client("sensor-1", Some("alice")) };
    let mut scratch = Vec::new();
    for (field, text) in [("client_id", client.client_id), ("tls_cn", client.tls_cn.unwrap())] {
        let key = template(field).render(&client, &mut scratch).unwrap();
        assert_eq!(key.as_ptr(), text.as_ptr());
    }
    assert_eq!(scratch.capacity(), 0);
}

#[test]
fn addresses_are_rendered_in_canonical_form() {
    for (address, expected) in [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:0db8:0:0::0001", "2001:db8::1"),
        ("::1", "::1"),
    ] {
        let client =
            ClientFields { source_ip: Some(address.parse().unwrap()), ..ClientFields::default() };
        assert_eq!(render("source_ip", &client).as_deref(), Some(expected));
    }
}

#[test]
fn a_client_without_identity_has_no_key() {
    let unix = |client_id| ClientFields { client_id, ..ClientFields::default() };
    for (text, client, expected) in [
        ("client_id", client("", Some("alice")), None),
        ("username", client("sensor-1", None), None),
        ("username", client("sensor-1", Some("")), None),
        ("source_ip", unix("sensor-1"), None),
        // The client ID is missing: its text would be one key for many clients.
        ("${username}/${client_id}", client("", Some("alice")), None),
        ("${source_ip}/${client_id}", client("", None), None),
        // With a client ID, the rest may be blank.
        ("${username}/${client_id}", client("sensor-1", None), Some("/sensor-1")),
        ("${source_ip}/${client_id}", unix("sensor-1"), Some("/sensor-1")),
        ("${username}/${source_ip}", client("", None), Some("/10.0.0.7")),
        ("${username}/${source_ip}", unix("sensor-1"), None),
        ("user-${username}", client("sensor-1", None), None),
        // Without TLS there is no certificate and no SNI.
        ("tls_cn", client("sensor-1", Some("alice")), None),
        ("sni", ClientFields { sni: Some(""), ..client("sensor-1", None) }, None),
        ("${tls_cn}@${sni}", client("sensor-1", None), None),
        (
            "${tls_cn}@${sni}",
            ClientFields { sni: Some("a.b"), ..ClientFields::default() },
            Some("@a.b"),
        ),
        ("${sni}/${client_id}", client("sensor-1", None), Some("/sensor-1")),
    ] {
        assert_eq!(render(text, &client).as_deref(), expected, "{text} {client:?}");
    }
}

#[test]
fn a_client_without_a_key_goes_by_policy() {
    use EmptyClientId::{LeastConnections, Reject, SourceIp, Username};

    let alice = client("", Some("alice"));
    for (policy, client, expected) in [
        (LeastConnections, alice, Choice::LeastConnections),
        (Reject, alice, Choice::Reject),
        (Username, alice, Choice::Key(b"alice")),
        (Username, client("", None), Choice::LeastConnections),
        (Username, client("", Some("")), Choice::LeastConnections),
        (SourceIp, alice, Choice::Key(b"10.0.0.7")),
        (SourceIp, ClientFields::default(), Choice::LeastConnections),
        (Reject, client("sensor-1", None), Choice::Key(b"sensor-1")),
    ] {
        let mut scratch = b"old".to_vec();
        assert_eq!(template("client_id").choose(policy, &client, &mut scratch), expected);
    }
}

#[test]
fn a_client_without_the_fields_of_the_key_goes_by_its_id() {
    use EmptyClientId::{LeastConnections, Reject, Username};

    let device = client("sensor-1", Some("alice"));
    let by_id = Choice::FallbackKey(b"sensor-1");
    for (key, policy, client, expected) in [
        ("tls_cn", LeastConnections, device, by_id),
        ("sni", Reject, ClientFields { sni: Some(""), ..device }, by_id),
        ("${tls_cn}@${sni}", Username, device, by_id),
        ("tls-${tls_cn}", Username, device, by_id),
        ("username", Reject, client("sensor-1", None), by_id),
        (
            "source_ip",
            Reject,
            ClientFields { client_id: "sensor-1", ..ClientFields::default() },
            by_id,
        ),
        ("${username}:${tls_cn}", Reject, device, Choice::Key(b"alice:")),
        ("tls_cn", Reject, ClientFields { client_id: "", ..device }, Choice::Reject),
        ("tls_cn", Username, ClientFields { client_id: "", ..device }, Choice::Key(b"alice")),
    ] {
        let mut scratch = b"old".to_vec();
        let chosen = template(key).choose(policy, &client, &mut scratch);
        assert_eq!(chosen, expected, "{key} {policy:?} {client:?}");
    }
}

/// No CONNECT is read, so that the policy for clients without an ID does not apply.
#[test]
fn a_client_whose_tls_is_passed_through() {
    use EmptyClientId::{Assign, LeastConnections, Reject, Username};

    let hidden = ClientFields { tls_passthrough: true, ..client("", None) };
    let named = ClientFields { sni: Some("eu.example"), ..hidden };
    let by_address = Choice::FallbackKey(b"10.0.0.7");
    for (key, client, expected) in [
        ("client_id", named, by_address),
        ("${sni}/${client_id}", named, by_address),
        ("username", named, by_address),
        ("sni", hidden, by_address),
        ("sni", named, Choice::Key(b"eu.example")),
        ("${username}@${sni}", named, Choice::Key(b"@eu.example")),
        ("source_ip", hidden, Choice::Key(b"10.0.0.7")),
        ("client_id", ClientFields { source_ip: None, ..named }, Choice::LeastConnections),
    ] {
        for policy in [LeastConnections, Username, Assign, Reject] {
            let mut scratch = b"old".to_vec();
            let chosen = template(key).choose(policy, &client, &mut scratch);
            assert_eq!(chosen, expected, "{key} {policy:?}");
        }
    }
}

#[test]
fn a_bad_key_is_refused_with_its_reason() {
    let unknown = |name: &str| TemplateError::from(VariableError(name.to_owned()));
    for (text, expected) in [
        ("clientid", unknown("clientid")),
        ("Client_ID", unknown("Client_ID")),
        ("", unknown("")),
        ("constant", unknown("constant")),
        ("${}", unknown("")),
        ("${client_id}/${user}", unknown("user")),
        ("${ client_id }", unknown(" client_id ")),
        ("${client_id", TemplateError::UnclosedVariable),
        ("${client_id}/${", TemplateError::UnclosedVariable),
        ("cn", unknown("cn")),
        ("${client_id}/${tls_sni}", unknown("tls_sni")),
    ] {
        assert_eq!(text.parse::<KeyTemplate>(), Err(expected), "{text}");
    }
    assert_eq!(
        "clientid".parse::<KeyTemplate>().unwrap_err().to_string(),
        "unknown variable `clientid`: allowed are client_id, username, source_ip, listener, sni, \
         tls_cn, tls_san_dns, tls_san_uri, tls_san_email, tls_serial, tls_fingerprint, \
         protocol_version and jwt.CLAIM"
    );
    assert_eq!(
        "${client_id".parse::<KeyTemplate>().unwrap_err().to_string(),
        "`${` without `}`: write a variable as `${client_id}`"
    );
}
