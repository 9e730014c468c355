//! What is said of keys and files that are wrong.

use super::{
    folder::Folder,
    pki::{Ca, Issued, Leaf},
};

const CHAIN: &str =
    "allowed: a readable file with a certificate in PEM, then those that lead to its CA";
const KEY: &str =
    "allowed: a readable file with an RSA, ECDSA or Ed25519 key in PEM, not encrypted";
const AUTHORITIES: &str = "allowed: a readable file with certificates of CAs in PEM";
const LISTS: &str = "allowed: a readable file with CRLs in PEM";
const CA: &str = "allowed: a readable file with certificates of CAs in PEM, such as the system's \
                  /etc/ssl/certs/ca-certificates.crt; or a pin; or insecure_skip_verify: true";
const ABSENT: &str = "cannot be read: No such file or directory (os error 2)";

/// As `openssl x509 -req` writes it where nobody names extensions: of X.509 version 1.
const VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBFzCBvwIUCQebzC/vADeAoyiwmadXVW14Q3AwCgYIKoZIzj0EAwIwDjEMMAoG
A1UEAwwDb2xkMCAXDTI2MTEyNDEzNTMwNVoYDzIxMjYxMDMxMTM1MzA1WjAOMQww
CgYDVQQDDANvbGQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQkJxPUX9/B5EfC
jP02PNNbEkIz7HpWZelZganeN9vxaYF6ooOmbpSZbR9sgnZz0nzQTksKUAc5X42l
GpWe+1OCMAoGCCqGSM49BAMCA0cAMEQCIE0BXwPcP7/2OGT6CmTjFLyhAPIwdIKD
FjHn90WHZqkxAiAKX901J8iJIQ2uYA+DlXzDFpTcI90A32pJrGJ9xtvP6g==
-----END CERTIFICATE-----
";

/// Files that are good, and some that are not.
fn folder() -> Folder {
    let ca = Ca::new("ca");
    let Issued { cert, key, der } = ca.issue(&Leaf::new("a", &["a.example.com"]));
    let other = ca.issue(&Leaf::new("b", &["b.example.com"]));
    let folder = Folder::new([
        ("cert.pem", &cert),
        ("key.pem", &key),
        ("other.key", &other.key),
        ("ca.pem", &ca.pem()),
        ("mixed.pem", &(ca.pem() + &cert)),
        ("clients.crl", &ca.crl(&[], 2030)),
        ("empty", ""),
        ("v1.pem", VERSION_1),
        ("base64.pem", &cert.replace('M', "!")),
        ("cut.pem", &cert[..cert.len() - 20]),
        // Text around the sections is usual, as `openssl x509 -text` writes it.
        ("noisy.pem", &format!("Certificate:\n    Data:\n{cert}\n\n{key}")),
        ("wrong.pem", &cert.replacen("MII", "MIH", 1).replacen("MIH", "AAA", 1)),
        ("wrong.crl", "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"),
        (
            "encrypted.key",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n",
        ),
        (
            "old.key",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMAA=\n-----END RSA PRIVATE KEY-----\n",
        ),
        ("odd.key", "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"),
    ]);
    folder.write("cert.der", der);
    folder
}

#[test]
fn certificates_and_keys() {
    let folder = folder();
    folder.listener("{ certificates: [{ cert: noisy.pem, key: noisy.pem }] }").unwrap();
    for (tls, wrong) in [
        ("{}", "10.certificates: is required; allowed: a list of { cert, key }".into()),
        ("5", "10: \"5\" is unknown; allowed: passthrough, or a mapping with certificates".into()),
        (
            "{ certificates: [] }",
            "26.certificates: is an empty list; allowed: one entry or more".into(),
        ),
        (
            "{ certificates: [{ cert: cert.pem }] }",
            format!("27.certificates[0].key: is required; {KEY}"),
        ),
        (
            "{ certificates: [{ key: key.pem }] }",
            format!("27.certificates[0].cert: is required; {CHAIN}"),
        ),
        (
            "{ certificates: [{ cert: cert.pem, key: other.key }] }",
            "50.certificates[0].key: is not the key of cert; allowed: the key of its first \
             certificate"
                .into(),
        ),
        (
            "{ certificates: [{ cert: mixed.pem, key: key.pem }] }",
            "51.certificates[0].key: is not the key of cert; allowed: the key of its first \
             certificate"
                .into(),
        ),
        (
            "{ certificates: [{ cert: cert.pem, key: key.pem, chain: x }] }",
            "59.certificates[0].chain: is an unknown key; allowed: cert, key, ocsp".into(),
        ),
    ] {
        assert_eq!(folder.fault(tls), wrong);
    }
    for (file, wrong) in [
        ("none.pem", ABSENT),
        ("empty", "holds no certificate"),
        ("key.pem", "holds no certificate"),
        ("clients.crl", "holds no certificate"),
        ("cert.der", "is DER, not PEM"),
        ("wrong.pem", "is invalid: certificate 1 is malformed"),
        ("v1.pem", "is invalid: certificate 1 is of X.509 version 1, not 3"),
        ("base64.pem", "is damaged: a section is not Base64"),
        ("cut.pem", "is damaged: a section has no end"),
    ] {
        let fault =
            folder.fault(&format!("{{ certificates: [{{ cert: {file}, key: key.pem }}] }}"));
        assert_eq!(fault, format!("35.certificates[0].cert: \"{file}\" {wrong}; {CHAIN}"));
    }
    for (file, wrong) in [
        ("none.key", ABSENT),
        ("empty", "holds no private key"),
        ("cert.pem", "holds no private key"),
        ("cert.der", "is DER, not PEM"),
        ("encrypted.key", "is encrypted"),
        ("old.key", "is encrypted"),
        ("odd.key", "holds a key that cannot be used"),
    ] {
        let fault =
            folder.fault(&format!("{{ certificates: [{{ cert: cert.pem, key: {file} }}] }}"));
        assert_eq!(fault, format!("50.certificates[0].key: \"{file}\" {wrong}; {KEY}"));
    }
}

#[test]
fn every_fault_is_reported() {
    let tls = "{ certificates: [{ cert: none.pem, key: none.key }, 5], client_auth: some, \
               client_ca: empty, client_crl: empty, min_version: 1.1, alpn: mqtt, curves: 2 }";
    assert_eq!(
        folder().listener(tls).unwrap_err(),
        [
            format!("5:35: listeners[0].tls.certificates[0].cert: \"none.pem\" {ABSENT}; {CHAIN}"),
            format!("5:50: listeners[0].tls.certificates[0].key: \"none.key\" {ABSENT}; {KEY}"),
            "5:62: listeners[0].tls.certificates[1]: is a single value; allowed: a mapping of keys \
             to values"
                .into(),
            "5:79: listeners[0].tls.client_auth: \"some\" is unknown; allowed: none, optional, \
             required"
                .into(),
            format!("5:96: listeners[0].tls.client_ca: \"empty\" holds no certificate; {AUTHORITIES}"),
            format!("5:115: listeners[0].tls.client_crl: \"empty\" holds no X509 CRL; {LISTS}"),
            "5:135: listeners[0].tls.min_version: \"1.1\" is unknown; allowed: 1.2, 1.3".into(),
            "5:146: listeners[0].tls.alpn: is a single value; allowed: a list".into(),
            "5:152: listeners[0].tls.curves: is an unknown key; allowed: certificates, \
             client_auth, client_ca, client_crl, min_version, max_version, max_record, tickets, \
             ticket_keys, alpn, mode"
                .into(),
        ]
    );
}

#[test]
fn faults_of_versions_records_and_tickets() {
    let folder = folder();
    folder.write("bad.keys", "\nAAAA\n");
    folder.write("good.keys", "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=\n");
    let fault = |keys: &str| {
        folder.fault(&format!("{{ certificates: [{{ cert: cert.pem, key: key.pem }}], {keys} }}"))
    };
    let allowed = "allowed: a readable file of up to 16 keys, one a line, each of 32 random bytes in \
                   Base64, as `openssl rand -base64 32` prints";
    for (keys, wrong) in [
        (
            "min_version: 1.3, max_version: 1.2",
            "max_version: is below min_version; allowed: min_version, or a higher one".to_owned(),
        ),
        (
            "tickets: 9",
            "tickets: \"9\" is out of range; allowed: a whole number from 0 to 8".into(),
        ),
        (
            "max_record: 511",
            "max_record: 511 bytes is out of range; allowed: 512 bytes to 16384 bytes".into(),
        ),
        ("ticket_keys: {}", format!("ticket_keys.file: is required; {allowed}")),
        (
            "ticket_keys: { file: bad.keys }",
            format!("ticket_keys.file: \"bad.keys\" line 2: is a key of 3 bytes; {allowed}"),
        ),
        (
            "tickets: 0, ticket_keys: { file: good.keys }",
            "ticket_keys: has no effect with tickets: 0; remove one of them".into(),
        ),
    ] {
        let said = fault(keys);
        let (_column, said) = said.split_once('.').unwrap();
        assert_eq!(said, wrong, "{keys}");
    }
}

#[test]
fn faults_of_client_authentication() {
    let folder = folder();
    let fault = |keys: &str| {
        folder.fault(&format!("{{ certificates: [{{ cert: cert.pem, key: key.pem }}], {keys} }}"))
    };
    let no_use = "has no effect with client_auth none; allowed: client_auth optional or required, \
                  or neither client_ca nor client_crl";
    for (keys, wrong) in [
        ("client_auth: required", format!("10.client_ca: is required; {AUTHORITIES}")),
        ("client_auth: optional", format!("10.client_ca: is required; {AUTHORITIES}")),
        (
            "client_auth: optional, client_crl: clients.crl",
            format!("10.client_ca: is required; {AUTHORITIES}"),
        ),
        ("client_ca: ca.pem", format!("73.client_ca: {no_use}")),
        ("client_auth: none, client_ca: ca.pem", format!("92.client_ca: {no_use}")),
        ("client_crl: clients.crl", format!("74.client_crl: {no_use}")),
    ] {
        assert_eq!(fault(keys), wrong, "{keys}");
    }
    for (file, wrong) in [
        ("none.pem", ABSENT),
        ("key.pem", "holds no certificate"),
        ("cert.pem", "is invalid: certificate 1 is not a CA certificate"),
        ("mixed.pem", "is invalid: certificate 2 is not a CA certificate"),
        ("wrong.pem", "is invalid: certificate 1 is malformed"),
    ] {
        let fault = fault(&format!("client_auth: required, client_ca: {file}"));
        assert_eq!(fault, format!("96.client_ca: \"{file}\" {wrong}; {AUTHORITIES}"));
    }
    for (file, wrong) in [
        ("none.crl", ABSENT),
        ("ca.pem", "holds no X509 CRL"),
        ("cert.der", "is DER, not PEM"),
        ("wrong.crl", "is invalid: CRL 1 cannot be used: BadDer"),
    ] {
        let keys = format!("client_auth: required, client_ca: ca.pem, client_crl: {file}");
        assert_eq!(fault(&keys), format!("116.client_crl: \"{file}\" {wrong}; {LISTS}"));
    }
}

#[test]
fn protocols_have_names() {
    let folder = folder();
    let fault = |alpn: &str| {
        let certificates = "certificates: [{ cert: cert.pem, key: key.pem }]";
        folder.fault(&format!("{{ {certificates}, alpn: {alpn} }}"))
    };
    let allowed = "allowed: names of 1 to 255 bytes, such as mqtt";
    assert_eq!(fault("[]"), "68.alpn: is an empty list; allowed: one entry or more");
    assert_eq!(
        fault("[\"\"]"),
        format!("69.alpn[0]: \"\" is not the name of a protocol; {allowed}")
    );
    assert!(fault(&format!("[mqtt, {}]", "a".repeat(256))).starts_with("75.alpn[1]: \"aaa"));
    assert_eq!(fault("[{}]"), format!("69.alpn[0]: is a mapping; {allowed}"));
}

/// Browsers offer http/1.1 for a WebSocket and nothing else: they would all be refused.
#[test]
fn protocols_of_a_websocket_are_those_of_http() {
    let folder = folder();
    let with = |alpn: &str, websocket: &str| {
        let tls = format!("{{ certificates: [{{ cert: cert.pem, key: key.pem }}], alpn: {alpn} }}");
        folder.listener(&format!("{tls}\n    websocket: {websocket}"))
    };
    for (alpn, websocket) in [("[mqtt]", "~"), ("[mqtt, http/1.1]", "{}"), ("~", "{}")] {
        with(alpn, websocket).unwrap();
    }
    for alpn in ["[mqtt]", "[http/1.0, h2]"] {
        assert_eq!(
            with(alpn, "{}").unwrap_err(),
            ["5:68: listeners[0].tls.alpn: lacks http/1.1, which is what clients offer for a \
              WebSocket; allowed: a list with http/1.1 in it, or no alpn"]
        );
    }
}

#[test]
fn faults_of_pool_tls() {
    let folder = folder();
    let name = "allowed: a host name or an IP address";
    let both = "allowed: both, or neither";
    for (tls, wrong) in [
        ("{}", format!("10.ca: is required; {CA}")),
        ("{ insecure_skip_verify: false }", format!("10.ca: is required; {CA}")),
        (
            "{ ca: ca.pem, insecure_skip_verify: true }",
            "16.ca: has no effect with insecure_skip_verify: true; remove one of them".into(),
        ),
        ("{ pin: [] }", "17.pin: is an empty list; allowed: one entry or more".into()),
        (
            "{ pin: [sha256/AAAA] }",
            "18.pin[0]: \"sha256/AAAA\" is not a pin; allowed: sha256/ and 44 characters of Base64, \
             the SHA-256 of a public key or certificate, as `mqtt-lb pin HOST:PORT` prints it"
                .into(),
        ),
        (
            "{ pin: [sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=], \
             insecure_skip_verify: true }",
            "17.pin: has no effect with insecure_skip_verify: true; remove one of them".into(),
        ),
        ("{ ca: ca.pem, alpn: [] }", "30.alpn: is an empty list; allowed: one entry or more".into()),
        ("{ ca: none.pem }", format!("16.ca: \"none.pem\" {ABSENT}; {AUTHORITIES}")),
        (
            "{ ca: cert.pem }",
            format!(
                "16.ca: \"cert.pem\" is invalid: certificate 1 is not a CA certificate; {AUTHORITIES}"
            ),
        ),
        (
            "{ ca: ca.pem, server_name: a_b..c }",
            format!("37.server_name: \"a_b..c\" is neither; {name}"),
        ),
        ("{ ca: ca.pem, cert: cert.pem }", format!("30.cert: is given without a key; {both}")),
        ("{ ca: ca.pem, key: key.pem }", format!("29.key: is given without a cert; {both}")),
        (
            "{ ca: ca.pem, cert: cert.pem, key: other.key }",
            "45.key: is not the key of cert; allowed: the key of its first certificate".into(),
        ),
        (
            "{ ca: ca.pem, insecure_skip_verify: 1 }",
            "46.insecure_skip_verify: \"1\" is unknown; allowed: true, false".into(),
        ),
        (
            "{ ca: ca.pem, server: x }",
            "24.server: is an unknown key; allowed: ca, pin, server_name, cert, key, \
             alpn, insecure_skip_verify, min_version"
                .into(),
        ),
    ] {
        assert_eq!(folder.pool_fault(tls), wrong, "{tls}");
    }
}

/// Else nothing says whose certificate it has to show.
#[test]
fn a_broker_on_a_unix_socket_needs_a_name() {
    let folder = folder();
    let with = |tls: &str, address: &str| {
        folder.parse(&format!(
            "listeners: [{{ name: l, bind: 127.0.0.1:0, pool: p }}]\npools:\n  - name: p\n    \
             tls: {tls}\n    upstreams: [{{ name: a, address: b:1 }}, {{ name: b, address: \
             {address} }}]\n"
        ))
    };
    for tls in ["{ ca: ca.pem }", "{ insecure_skip_verify: true }"] {
        with(tls, "'x:8883'").unwrap();
        assert_eq!(
            with(tls, "unix:/run/b.sock").unwrap_err(),
            [
                "4:10: pools[0].tls.server_name: is required; allowed: a host name or an IP address, as \
              the address of b has none"
            ]
        );
    }
    with("{ ca: ca.pem, server_name: b }", "unix:/run/b.sock").unwrap();
}
