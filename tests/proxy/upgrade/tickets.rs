//! Session tickets with generated keys serve in the new process.

use std::{fs, sync::Arc};

use rustls::ClientConfig;

use super::NewProcess;
use crate::{
    broker::Broker,
    config::Config,
    harness::Proxy,
    tls_client::{Pki, TlsClient, Versions},
};

/// A session, which leaves its ticket in the client's configuration.
#[track_caller]
fn resumes(config: &Arc<ClientConfig>, proxy: &Proxy) -> bool {
    let mut client = TlsClient::open(config, proxy.address(), "localhost").session("device");
    client.echo(b"\xC0\x00");
    client.is_resumed()
}

/// With each version of TLS, twice in a row.
#[test]
fn tickets_serve_in_the_new_process() {
    let pki = Pki::new();
    let broker = Broker::echoing();
    let proxy = Config::of([&broker]).listener(&pki.tls("")).start();
    let clients = [Versions::Both, Versions::Only12].map(|it| pki.client().versions(it).config());
    for client in &clients {
        assert!(!resumes(client, &proxy));
    }
    let mut new = NewProcess::of(&proxy);
    for client in &clients {
        assert!(resumes(client, &proxy));
    }
    new.next(&proxy);
    for client in &clients {
        assert!(resumes(client, &proxy));
    }
}

/// Whom the listener admits has changed: nobody comes in by a ticket of before.
#[test]
fn tickets_end_with_another_client_ca() {
    let pki = Pki::new();
    let device = pki.issue("device");
    let broker = Broker::echoing();
    pki.write("clients.pem", &pki.ca.pem());
    let tls = pki.tls(&format!(", client_auth: required{}", pki.file("client_ca", "clients.pem")));
    let other = crate::pki::Ca::new("Other CA");
    for change in [
        &(|_: &Proxy| pki.write("clients.pem", &(pki.ca.pem() + &other.pem()))) as &dyn Fn(&Proxy),
        &|proxy: &Proxy| {
            let text = fs::read_to_string(proxy.config_file()).unwrap();
            fs::write(proxy.config_file(), text.replace("required", "optional")).unwrap();
        },
    ] {
        let proxy = Config::of([&broker]).listener(&tls).start();
        let clients = [Versions::Both, Versions::Only12]
            .map(|it| pki.client().versions(it).with(&device).config());
        for client in &clients {
            assert!(!resumes(client, &proxy));
            assert!(resumes(client, &proxy));
        }
        change(&proxy);
        let _new = NewProcess::of(&proxy);
        for client in &clients {
            assert!(!resumes(client, &proxy));
            assert!(resumes(client, &proxy));
        }
    }
}
