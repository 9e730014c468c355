//! CONNACKs, and their absence, that have the next broker asked.

use std::io;

use serde_json::Value;

use crate::{
    broker::{Broker, Link, echo, version},
    client::{CONNACK_V5, Client, connack, connect, packet, text},
    config::Config,
    harness::{Proxy, end, wait_for},
    routing::{ids, route},
    unavailable::NO_EJECTION,
};

/// A broker that answers every CONNECT with these bytes, and then waits for the end.
fn answering(answer: impl Fn(u8) -> Vec<u8> + Send + Sync + 'static) -> Broker {
    Broker::start(move |mut link| {
        if let Some(connect) = link.read_packet() {
            link.send(&answer(version(&connect)));
            let _ = io::copy(&mut link.stream, &mut io::sink());
        }
    })
}

/// An ID whose first broker is `first`.
pub(crate) fn id_of(proxy: &Proxy, first: &str) -> String {
    let ids = ids();
    let orders = route(proxy, &[], &ids);
    ids.into_iter().zip(orders).find(|(_, order)| order[0] == first).unwrap().0
}

#[track_caller]
fn tries(proxy: &Proxy, upstream: &str, outcome: &str) -> u64 {
    let labels = [format!("upstream=\"{upstream}\""), format!("outcome=\"{outcome}\"")];
    let labels: Vec<_> = labels.iter().map(String::as_str).collect();
    proxy.metric("mqtt_lb_upstream_tries_total", &labels) as u64
}

/// A CONNACK of 5.0 with a Server Reference (3.2.2.3.16).
fn redirect(code: u8, reference: &str) -> Vec<u8> {
    let properties = [&[0x1C][..], &text(reference)].concat();
    packet(0x20, &[&[0, code, properties.len() as u8][..], &properties].concat())
}

#[test]
fn the_client_sees_only_the_accepting_answer() {
    let good = Broker::echoing();
    for (name, connect_version, code) in [
        ("unavailable", 3, 3),
        ("unavailable", 4, 3),
        ("unavailable", 5, 0x88),
        ("busy", 5, 0x89),
        ("quota", 5, 0x97),
        ("rate", 5, 0x9F),
        ("another", 5, 0x9C),
        ("moved", 5, 0x9D),
    ] {
        let bad = answering(move |version| connack(version, code));
        let proxy = Config::of([&bad, &good]).pool(NO_EJECTION).start();
        let id = id_of(&proxy, "b1");
        let answer = connack(connect_version, 0);
        let mut client = Client::exchange(proxy.address(), &connect(connect_version, &id), &answer);
        client.echo(b"\xC0\x00");
        let line = proxy.wait_connected(&id);
        assert_eq!(line["upstream"], "b2", "{name}");
        assert_eq!((&line["tries"], &line["route"]), (&2.into(), &"fallback".into()), "{name}");
        assert_eq!(line["connack"], 0);
        assert_eq!(tries(&proxy, "b1", "refused"), 1);
        assert_eq!(tries(&proxy, "b2", "accepted"), 1);
        // The one that said no was left before the next one was asked.
        assert_eq!(proxy.metric("mqtt_lb_upstream_sessions_active", &[]) as u64, 1);
    }
}

#[test]
fn other_refusals_are_final() {
    for code in [0x80, 0x85, 0x86, 0x87, 0x8A] {
        let bad = answering(move |version| connack(version, code));
        let good = Broker::echoing();
        let proxy = Config::of([&bad, &good]).start();
        let id = id_of(&proxy, "b1");
        Client::exchange(proxy.address(), &connect(5, &id), &connack(5, code));
        assert_eq!(proxy.wait_end(&id)["tries"], 1);
        assert_eq!(good.connections(), 0);
    }
}

/// With nobody left to ask, the last answer is the client's, byte for byte.
#[test]
fn all_say_no() {
    let reason = |text_of: &'static str, code| {
        let properties = [&[0x1F][..], &text(text_of)].concat();
        packet(0x20, &[&[0, code, properties.len() as u8][..], &properties].concat())
    };
    let answers = [reason("first", 0x89), reason("second", 0x88)];
    let brokers = answers.clone().map(|answer| answering(move |_| answer.clone()));
    let proxy = Config::of(&brokers).pool(NO_EJECTION).start();
    for (first, last) in [("b1", 1), ("b2", 0)] {
        let id = id_of(&proxy, first);
        let client = Client::exchange(proxy.address(), &connect(5, &id), &answers[last]);
        client.finish();
        let line = proxy.wait_end(&id);
        assert_eq!(end(&line), "upstream/connack/refused");
        assert_eq!(line["tries"], 2);
        assert_eq!(line["connack"], [0x89, 0x88][last]);
        assert_eq!(line["upstream"], ["b1", "b2"][last]);
    }
}

/// The last answer counts, also when those that were asked after it had none.
#[test]
fn a_no_and_then_nothing() {
    let busy = answering(|_| connack(5, 0x89));
    let mut gone = Broker::echoing();
    let proxy = Config::of([&busy, &gone]).pool(NO_EJECTION).start();
    gone.stop();
    let id = id_of(&proxy, "b1");
    Client::exchange(proxy.address(), &connect(5, &id), &connack(5, 0x89)).expect_end();
    let line = proxy.wait_end(&id);
    assert_eq!(end(&line), "upstream/connack/refused");
    assert_eq!((&line["tries"], &line["upstream"]), (&2.into(), &"b1".into()));
    assert_eq!((&line["connack"], &line["connack_reason"]), (&0x89.into(), &"server_busy".into()));
    assert!(line["detail"].as_str().unwrap().contains("refused"), "{line}");
}

/// A closed or reset connection, noise, and silence.
#[test]
fn no_connack() {
    for how in ["close", "reset", "babble", "silence"] {
        let bad = Broker::start(move |mut link: Link| {
            let Some(_) = link.read_packet() else { return };
            match how {
                "reset" => link.reset(),
                "babble" => link.send(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
                "silence" => drop(io::copy(&mut link.stream, &mut io::sink())),
                _ => {}
            }
        });
        let good = Broker::echoing();
        let config = Config::of([&bad, &good]).pool(NO_EJECTION).pool("connack_timeout: 300ms");
        let proxy = config.start();
        let id = id_of(&proxy, "b1");
        // What a client sends behind its CONNECT goes to the broker that takes it.
        let bytes = [connect(5, &id), b"\xC0\x00".to_vec()].concat();
        let answer = [CONNACK_V5, b"\xC0\x00"].concat();
        Client::exchange(proxy.address(), &bytes, &answer).echo(b"\xC0\x00");
        let line = proxy.wait_connected(&id);
        assert_eq!((&line["tries"], &line["upstream"]), (&2.into(), &"b2".into()), "{how}");
        assert_eq!(tries(&proxy, "b1", "no_connack"), 1);
    }
}

#[test]
fn what_is_not_retried_on() {
    let bad = answering(|version| connack(version, 0x88));
    let closing = Broker::start(|mut link| drop(link.read_packet()));
    let good = Broker::echoing();
    let proxy = Config::of([&bad, &closing, &good]).pool("retry_on: [connect_failure]").start();
    let id = id_of(&proxy, "b1");
    Client::exchange(proxy.address(), &connect(5, &id), &connack(5, 0x88));
    assert_eq!(proxy.wait_end(&id)["tries"], 1);
    let id = id_of(&proxy, "b2");
    Client::exchange(proxy.address(), &connect(5, &id), &connack(5, 0x88)).expect_end();
    let line = proxy.wait_end(&id);
    assert_eq!((&line["tries"], &*end(&line)), (&1.into(), "upstream/connack/closed"));
    assert_eq!(good.connections(), 0);
}

/// A Server Reference is followed where it names a broker of the pool.
#[test]
fn a_server_reference() {
    let brokers: [Broker; 3] = std::array::from_fn(|_| Broker::echoing());
    let plain = Config::of(&brokers).start();
    let id = id_of(&plain, "b1");
    let order = &route(&plain, &[], std::slice::from_ref(&id))[0];
    // To the last one in order, which no retry would ask before the second.
    let last = &brokers[order[2][1..].parse::<usize>().unwrap() - 1];
    let references = [
        (order[2].clone(), &order[2], "referred"),
        (last.address.to_string(), &order[2], "referred"),
        (format!("elsewhere.example:1883 {}", order[2]), &order[2], "referred"),
        ("elsewhere.example".to_owned(), &order[1], "fallback"),
        // To itself.
        ("b1".to_owned(), &order[1], "fallback"),
    ];
    for (reference, upstream, way) in references {
        let answer = redirect(0x9C, &reference);
        let referring = answering(move |_| answer.clone());
        let proxy = Config::of([&referring, &brokers[1], &brokers[2]]).start();
        Client::exchange(proxy.address(), &connect(5, &id), CONNACK_V5).echo(b"\xC0\x00");
        let line = proxy.wait_connected(&id);
        assert_eq!(line["upstream"], **upstream, "{reference}");
        assert_eq!((&line["tries"], &line["route"]), (&2.into(), &way.into()), "{reference}");
    }
}

/// Once the client has taken part in an authentication it can't be handed on.
#[test]
fn no_retry_in_an_authentication() {
    let auth: &[u8] = b"\xF0\x02\x18\x00";
    let asking = Broker::start(move |mut link| {
        if link.read_packet().is_some() {
            link.send(auth);
            link.read_packet();
            link.send(&connack(5, 0x88));
        }
    });
    let good = Broker::echoing();
    let proxy = Config::of([&asking, &good]).start();
    let id = id_of(&proxy, "b1");
    let mut client = Client::exchange(proxy.address(), &connect(5, &id), auth);
    client.send(auth);
    client.expect(&connack(5, 0x88));
    drop(client);
    assert_eq!(proxy.wait_end(&id)["tries"], 1);
    assert_eq!(good.connections(), 0);
}

/// Never two brokers at once: the first is left before the second is asked.
#[test]
fn one_broker_at_a_time() {
    let first_gone = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let told = first_gone.clone();
    let silent = Broker::start(move |mut link| {
        let _ = io::copy(&mut link.stream, &mut io::sink());
        told.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    let good = Broker::start(move |link: Link| {
        wait_for("the first broker to be left", || {
            first_gone.load(std::sync::atomic::Ordering::SeqCst).then_some(())
        });
        echo(link);
    });
    let proxy = Config::of([&silent, &good]).pool("connack_timeout: 2s").start();
    let id = id_of(&proxy, "b1");
    // The second broker answers within 2 s only if it need not wait for the end of the first.
    Client::exchange(proxy.address(), &connect(4, &id), &connack(4, 0));
    assert_eq!(proxy.wait_connected(&id)["tries"], 2);
}

/// `tries` is the most that are asked.
#[test]
fn tries_bound_the_answers_too() {
    let brokers: [Broker; 3] = std::array::from_fn(|_| answering(|version| connack(version, 0x89)));
    let proxy = Config::of(&brokers).pool("tries: 2").pool(NO_EJECTION).start();
    Client::exchange(proxy.address(), &connect(5, "x"), &connack(5, 0x89));
    assert_eq!(proxy.wait_end("x")["tries"], 2);
    assert_eq!(brokers.iter().map(Broker::connections).sum::<usize>(), 2);
    assert_eq!(proxy.wait_end("x")["detail"], Value::Null);
}
