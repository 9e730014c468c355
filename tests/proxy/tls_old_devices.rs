//! What small and old devices need, and what is said of the certificates that they have.

use std::{
    io::{Read as _, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::Signal;

use crate::{
    broker::Broker,
    client::{CONNACK_V3, connect},
    config::Config,
    harness::{Proxy, end, rejects, wait_for},
    tls_client::{Pki, TlsClient, Versions},
    warnings::warnings,
};

/// Runs OpenSSL in this folder.
pub(crate) fn openssl(folder: &Path, args: &str) {
    let output =
        Command::new("openssl").current_dir(folder).args(args.split(' ')).output().unwrap();
    assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Certificates that rustls does not accept: the name of the file, and what the log says of it.
const OLD: [(&str, &str); 3] = [
    ("v1", "the certificate is of X.509 version 1, not 3: issue it with an extension"),
    ("short", "the certificate has an RSA key of 1024 bits, and 2048 are required"),
    ("sha1", "the certificate is signed with SHA-1, which can be forged: have its CA sign it with"),
];

/// Those, and their CA as ca.pem and ca.key.
fn old_certificates(folder: &Path) {
    let subject = "-subj /CN=localhost";
    openssl(
        folder,
        &format!(
            "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem {subject}CA -days 9"
        ),
    );
    std::fs::write(folder.join("v3"), "subjectAltName=DNS:localhost\n").unwrap();
    for (name, bits, options) in [
        ("v1", 2048, "-sha256"),
        ("short", 1024, "-sha256 -extfile v3"),
        ("sha1", 2048, "-sha1 -extfile v3"),
    ] {
        openssl(
            folder,
            &format!("req -newkey rsa:{bits} -nodes -keyout {name}.key -out {name}.csr {subject}"),
        );
        openssl(
            folder,
            &format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 9 {options} -out {name}.pem"
            ),
        );
    }
}

/// A handshake by OpenSSL at its lowest level of security; what it says.
fn s_client(proxy: &Proxy, args: &str) -> String {
    s_client_at(&format!("-connect {} {args}", proxy.address()))
}

pub(crate) fn s_client_at(args: &str) -> String {
    let mut child = Command::new("openssl")
        .arg("s_client")
        .args(["-cipher", "DEFAULT:@SECLEVEL=0"])
        .args(args.split(' '))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It leaves at the end of its input, with a reset if anything is unread; it may have left
    // before.
    let (mut input, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let _ = input.write_all(&connect(4, "openssl"));
    let (mut said, mut bytes) = (Vec::new(), [0; 4096]);
    while !said.windows(CONNACK_V3.len()).any(|found| found == CONNACK_V3) {
        match stdout.read(&mut bytes).unwrap() {
            0 => break,
            len => said.extend_from_slice(&bytes[..len]),
        }
    }
    drop(input);
    stdout.read_to_end(&mut said).unwrap();
    let output = child.wait_with_output().unwrap();
    [said, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat()
}

#[test]
fn certificates_of_clients() {
    let pki = Pki::new();
    let old = tempfile::tempdir().unwrap();
    old_certificates(old.path());
    let broker = Broker::echoing();
    let ca = format!(", client_auth: required, client_ca: \"{}/ca.pem\"", old.path().display());
    let proxy = Config::of([&broker]).listener(&pki.tls(&ca)).start();
    let mut count = 0;
    for (name, said) in OLD {
        for version in ["-tls1_2", "-tls1_3"] {
            let file = |end: &str| old.path().join(format!("{name}.{end}")).display().to_string();
            s_client(&proxy, &format!("{version} -cert {} -key {}", file("pem"), file("key")));
            count += 1;
            let line = rejects(&proxy, count).pop().unwrap();
            assert_eq!(end(&line), "proxy/handshake/refused");
            let detail = line["detail"].as_str().unwrap();
            let wanted = format!("TLS: invalid peer certificate: {said}");
            assert!(detail.starts_with(&wanted), "{name} {version}: {detail}");
            assert!(detail.len() < 220, "{detail}");
        }
    }
}

/// Sessions and health checks say the same of a broker.
#[test]
fn certificates_of_brokers() {
    let old = tempfile::tempdir().unwrap();
    old_certificates(old.path());
    for (name, said) in OLD {
        let mut server = Command::new("openssl")
            .current_dir(old.path())
            .args([
                "s_server",
                "-accept",
                "127.0.0.1:0",
                "-quiet",
                "-cipher",
                "DEFAULT:@SECLEVEL=0",
            ])
            .args(["-cert", &format!("{name}.pem"), "-key", &format!("{name}.key")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It does not say which port it was given.
        let port = wait_for("the server to listen", || listening_port(server.id()));
        let pool = format!(
            "tls: {{ ca: \"{}/ca.pem\", server_name: localhost }}\n    health: {{ active: {{ type: \
             mqtt, interval: 100ms }} }}",
            old.path().display()
        );
        let proxy = Config::at([format!("127.0.0.1:{port}")]).pool(&pool).start();
        let mut client = crate::client::Client::open(proxy.address());
        client.send(&connect(4, "c"));
        let _ = client.rest();
        let line = rejects(&proxy, 1).pop().unwrap();
        assert!(line.to_string().contains(said), "{name}: {line}");
        proxy.wait_stderr(said);
        server.kill().unwrap();
        server.wait().unwrap();
    }
}

/// The port on which a process listens.
fn listening_port(pid: u32) -> Option<u16> {
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let inodes: Vec<String> = fds
        .filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.into()))
        .collect();
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).ok()?;
    table.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        // The state LISTEN.
        let is_ours = fields.get(3) == Some(&"0A") && inodes.iter().any(|inode| fields[9] == inode);
        let (_, port) = fields.get(1)?.split_once(':')?;
        is_ours.then(|| u16::from_str_radix(port, 16).ok()).flatten()
    })
}

/// Nothing that a client gets is in a longer record, neither the handshake nor a message.
#[test]
fn small_records() {
    const MESSAGE: usize = 100_000;
    // The nonce of 1.2 or the type of 1.3, and the tag.
    const MAX_OVERHEAD: usize = 8 + 16;
    let pki = Pki::new();
    let broker = Broker::echoing();
    for (max_record, bytes) in [("512", 512), ("1200", 1200), ("16KiB", 1 << 14)] {
        let more = format!(", max_record: {max_record}");
        let proxy = Config::of([&broker]).listener(&pki.tls(&more)).start();
        for versions in [Versions::Both, Versions::Only12] {
            let config = pki.client().versions(versions).config();
            let mut client = TlsClient::open(&config, proxy.address(), "localhost");
            let message = [connect(4, "small"), vec![b'x'; MESSAGE]].concat();
            client.stream.conn.set_buffer_limit(None);
            client.stream.conn.writer().write_all(&message).unwrap();
            let longest = longest_record(&mut client, CONNACK_V3.len() + MESSAGE);
            // What the broker sends comes in pieces of other lengths.
            let expected = bytes.min(4096)..=bytes + MAX_OVERHEAD;
            assert!(expected.contains(&longest), "{max_record}: {longest}");
        }
    }
}

/// The length of the longest record, without its header, until so much plaintext has come.
fn longest_record(client: &mut TlsClient, plaintext: usize) -> usize {
    let (conn, socket) = (&mut client.stream.conn, &mut client.stream.sock);
    let (mut longest, mut read) = (0, 0);
    while read < plaintext {
        while conn.wants_write() {
            conn.write_tls(socket).unwrap();
        }
        let mut record = vec![0; 5];
        socket.read_exact(&mut record).unwrap();
        let len = usize::from(u16::from_be_bytes([record[3], record[4]]));
        record.resize(5 + len, 0);
        socket.read_exact(&mut record[5..]).unwrap();
        longest = longest.max(len);
        let mut unread = &record[..];
        while !unread.is_empty() {
            conn.read_tls(&mut unread).unwrap();
            conn.process_new_packets().unwrap();
        }
        read += conn.reader().read(&mut vec![0; plaintext]).unwrap_or(0);
    }
    longest
}

/// A client that speaks 1.3 gets 1.2 from a listener that has no more, and none without 1.2.
#[test]
fn the_highest_version() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).listener(&pki.tls(", max_version: \"1.2\"")).start();
    drop(pki.client().open(proxy.address()).session("both"));
    assert_eq!(proxy.wait_end("both")["tls_version"], "TLSv1.2");
    let said = s_client(&proxy, "-tls1_3");
    assert!(said.contains("alert protocol version"), "{said}");
    let line = rejects(&proxy, 1).pop().unwrap();
    let detail = line["detail"].as_str().unwrap();
    assert!(detail.contains("max_version"), "{detail}");
}

/// A client that asks for the status of the certificate gets the response in the file, until that is
/// outdated; a reload brings a new one. Other files are refused.
#[test]
fn the_status_of_the_certificate() {
    let site = tempfile::tempdir().unwrap();
    let folder = site.path();
    old_certificates(folder);
    for name in ["server", "other"] {
        openssl(
            folder,
            &format!("req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN=a"),
        );
        openssl(
            folder,
            &format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 90 -sha256 \
                 -extfile v3 -out {name}.pem"
            ),
        );
    }
    respond(folder, "server", "V", "-ndays 9");
    let dir = folder.display();
    let tls = format!(
        "tls: {{ certificates: [ {{ cert: \"{dir}/server.pem\", key: \"{dir}/server.key\", ocsp: \
         \"{dir}/ocsp.der\" }} ] }}"
    );
    let broker = Broker::echoing();
    let config = Config::of([&broker]).listener(&tls);
    assert_eq!(warnings(&config), [""; 0]);
    let proxy = config.start();
    for version in ["-tls1_2", "-tls1_3"] {
        let said = s_client(&proxy, &format!("-status {version}"));
        assert!(said.contains("OCSP Response Status: successful"), "{said}");
        assert!(said.contains("Cert Status: good"), "{said}");
        let said = s_client(&proxy, version);
        assert!(!said.contains("OCSP Response Status"), "{said}");
    }
    let spoil: [(&str, &dyn Fn()); 4] = [
        ("is an OCSP response for another certificate", &|| {
            respond(folder, "other", "V", "-ndays 9");
        }),
        ("says that the certificate is revoked", &|| respond(folder, "server", "R", "-ndays 9")),
        ("is not a successful OCSP response: tryLater", &|| {
            std::fs::write(folder.join("ocsp.der"), b"\x30\x03\x0A\x01\x03").unwrap();
        }),
        ("is not an OCSP response in DER", &|| {
            std::fs::copy(folder.join("server.pem"), folder.join("ocsp.der")).unwrap();
        }),
    ];
    for (number, (said, spoil)) in spoil.into_iter().enumerate() {
        spoil();
        proxy.signal(Signal::HUP);
        proxy.wait_stderr(said);
        proxy.wait_metric("mqtt_lb_config_reloads_total", &["refused"], number as f64 + 1.0);
        let said = s_client(&proxy, "-status");
        assert!(said.contains("Cert Status: good"), "{said}");
    }
    // The proxy does not verify the signature, so that nextUpdate can be made a time long ago.
    respond(folder, "server", "V", "-ndays 99999");
    let der = std::fs::read(folder.join("ocsp.der")).unwrap();
    let at = der.windows(5).position(|bytes| bytes == b"\x18\x0F230").unwrap() + 2;
    std::fs::write(folder.join("ocsp.der"), [&der[..at], b"200", &der[at + 3..]].concat()).unwrap();
    let warned = warnings(&config);
    assert!(warned[0].contains("was valid until 200"), "{warned:?}");
    proxy.signal(Signal::HUP);
    proxy.wait_stderr("was valid until");
    let said = s_client(&proxy, "-status");
    assert!(said.contains("OCSP response: no response sent"), "{said}");
}

/// Writes ocsp.der: what the CA says of a certificate, whose state is V or R.
fn respond(folder: &Path, name: &str, state: &str, validity: &str) {
    let output = Command::new("openssl")
        .current_dir(folder)
        .args(["x509", "-noout", "-serial", "-in", &format!("{name}.pem")])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let serial = said.trim().strip_prefix("serial=").unwrap();
    let revoked = if state == "R" { "250101000000Z" } else { "" };
    let index = format!("{state}\t491231235959Z\t{revoked}\t{serial}\tunknown\t/CN=a\n");
    std::fs::write(folder.join("index.txt"), index).unwrap();
    openssl(
        folder,
        &format!(
            "ocsp -index index.txt -CA ca.pem -rsigner ca.pem -rkey ca.key -issuer ca.pem -cert \
             {name}.pem -respout ocsp.der {validity}"
        ),
    );
}
