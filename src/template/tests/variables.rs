use crate::template::{Claim, ClientFields, Template, TemplateError, Variable};

fn names(names: &[&str]) -> Vec<Box<str>> {
    names.iter().map(|&name| name.into()).collect()
}

#[test]
fn every_variable_has_its_value() {
    let (dns, uri, email) =
        (names(&["a.example", "b.example"]), names(&["urn:device:7"]), names(&["a@example"]));
    let claims = [
        Claim { name: "sub".into(), value: "alice".into() },
        Claim { name: "https://x.example/a.b".into(), value: "7".into() },
    ];
    let client = ClientFields {
        client_id: "sensor-1",
        username: Some("anna"),
        source_ip: Some("::ffff:192.0.2.1".parse().unwrap()),
        listener: Some("mqtts"),
        protocol_version: Some(5),
        sni: Some("eu.example"),
        tls_cn: Some("device 7"),
        tls_san_dns: &dns,
        tls_san_uri: &uri,
        tls_san_email: &email,
        tls_serial: Some("0a"),
        tls_fingerprint: Some("ff"),
        tls_passthrough: false,
        claims: &claims,
    };
    for (name, value) in [
        ("client_id", "sensor-1"),
        ("username", "anna"),
        ("source_ip", "192.0.2.1"),
        ("listener", "mqtts"),
        ("protocol_version", "5"),
        ("sni", "eu.example"),
        ("tls_cn", "device 7"),
        ("tls_san_dns", "a.example"),
        ("tls_san_uri", "urn:device:7"),
        ("tls_san_email", "a@example"),
        ("tls_serial", "0a"),
        ("tls_fingerprint", "ff"),
        ("jwt.sub", "alice"),
        ("jwt.https://x.example/a.b", "7"),
    ] {
        let variable: Variable = name.parse().unwrap();
        assert_eq!(variable.to_string(), name);
        assert_eq!(variable.value(&client).as_deref(), Some(value), "{name}");
        assert_eq!(variable.value(&ClientFields::default()), None, "{name}");
        let template: Template = format!("<${{{name}}}>").parse().unwrap();
        assert_eq!(template.render(&client).unwrap(), format!("<{value}>"));
        assert_eq!(template.render(&ClientFields::default()), Err(&variable));
        assert_eq!(template.to_string(), format!("<${{{name}}}>"));
    }
}

#[test]
fn an_invalid_template_is_refused_with_its_reason() {
    for (text, name) in [("${clientid}", "clientid"), ("${jwt.}", "jwt."), ("a${}", "")] {
        let error = text.parse::<Template>().unwrap_err();
        assert!(error.to_string().starts_with(&format!("unknown variable `{name}`: ")), "{error}");
    }
    assert_eq!("a${client_id".parse::<Template>(), Err(TemplateError::UnclosedVariable));
    assert_eq!(
        "$5 {}".parse::<Template>().unwrap().render(&ClientFields::default()).unwrap(),
        "$5 {}"
    );
}
