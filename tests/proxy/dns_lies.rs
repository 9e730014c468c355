//! A DNS server that lies.

use crate::{
    broker::Broker,
    client::Client,
    discovery::wait_changes,
    discovery_faults::lookups,
    harness::{Proxy, heavy, wait_for},
    name_server::{NameServer, Query, Record, SRV, TRUNCATED, TXT},
};

/// The messages that a query is answered with.
pub(crate) type Script = fn(&Query) -> Vec<Vec<u8>>;

/// Malformed messages, and those that no honest server sends; a pool for each of them.
const LIES: &[(&str, Script)] = &[
    ("nothing", |_| vec![vec![], vec![0], vec![0; 11]]),
    ("garbage", |query| vec![[&query.id[..], &[0xA5; 500]].concat()]),
    ("other-id", |query| {
        let mut answer = query.answer(0, &[service(query)]);
        answer[0] ^= 0x55;
        vec![answer; 2000]
    }),
    ("other-question", |query| {
        let name = "other.test";
        let question = [&Record::new(name, SRV, 1, 1, &[]).bytes[..16]].concat();
        let other = Query { name: name.to_owned(), question, ..*query };
        vec![other.answer(0, &[service(&other)]); 10]
    }),
    ("no-response", |query| {
        let mut answer = query.answer(0, &[service(query)]);
        answer[2] &= 0x7F;
        vec![answer]
    }),
    ("fewer-records", |query| vec![[&query.header(0, 1, 65535)[..], &query.question].concat()]),
    ("loop", |query| {
        let at = 12 + query.question.len() as u16;
        let pointer = (0xC000 | at).to_be_bytes();
        let rest = [SRV, 1, 0, 1, 0].map(u16::to_be_bytes);
        let header = query.header(0, 1, 1);
        vec![[&header[..], &query.question, &pointer, rest.as_flattened()].concat()]
    }),
    ("short-data", |query| vec![query.answer(0, &[Record::new(&query.name, SRV, 1, 1, &[0; 5])])]),
    ("long-data", |query| {
        let mut record = service(query);
        let at = record.bytes.len() - 25;
        record.bytes[at..].fill(0xFF);
        vec![query.answer(0, &[record])]
    }),
    ("other-class", |query| vec![query.answer(0, &[Record::new(&query.name, SRV, 3, 1, &[0; 7])])]),
    ("other-type", |query| vec![query.answer(0, &[Record::new(&query.name, TXT, 1, 1, b"\x01a")])]),
    ("alias-loop", |query| {
        let alias = [&[4][..], b"self", &[0]].concat();
        vec![query.answer(
            0,
            &[Record::new(&query.name, 5, 1, 1, &alias), Record::new("self", 5, 1, 1, &alias)],
        )]
    }),
    ("truncated-twice", |query| vec![query.answer(TRUNCATED, &[])]),
    ("no-question", |query| {
        over_tcp(query, vec![[&query.header(0, 0, 1)[..], &service(query).bytes].concat()])
    }),
    ("garbage-behind", |query| over_tcp(query, vec![[&query.id[..], &[0x5A; 60_000]].concat()])),
    ("silent-behind", |query| over_tcp(query, vec![])),
];

/// An answer that has to be asked for again over TCP.
fn over_tcp(query: &Query, answers: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    if query.over_tcp { answers } else { vec![query.answer(TRUNCATED, &[])] }
}

fn service(query: &Query) -> Record {
    Record::srv(&query.name, [0, 1, 1883], "a-target-that-is-long-enough.test")
}

#[test]
fn lies() {
    let _heavy = heavy();
    let broker = Broker::echoing();
    let many = (0..1000)
        .map(|n| Record::srv("many.test", [0, 1, broker.address.port()], &format!("b{n}.test")));
    let many: Vec<_> = many.collect();
    let server = NameServer::start(Vec::new());
    server.say(move |query| {
        let lie = LIES.iter().find(|(name, _)| query.name == format!("{name}.test"));
        match lie {
            Some((_, script)) => script(query),
            None => vec![query.answer_from(&many)],
        }
    });
    let pool = |name: &str| {
        format!(
            "- {{ name: {name}, discover: {{ dns: {name}.test, interval: 100ms }}, \
             upstreams: [ {{ name: static, address: \"{}\" }} ] }}\n",
            broker.address
        )
    };
    let pools: String = LIES.iter().map(|(name, _)| pool(name)).collect();
    let proxy = Proxy::start(&format!(
        "listeners:\n\
         - {{ name: mqtt, bind: \"127.0.0.1:0\", pool: garbage }}\n\
         - {{ name: to-many, bind: \"127.0.0.1:0\", pool: many }}\n\
         pools:\n{pools}{}\
         access_log: [ {{ path: access.log }} ]\n\
         admin: {{ bind: \"127.0.0.1:0\" }}\n\
         dns: {{ servers: [ \"{}\" ] }}\n",
        pool("many"),
        server.address
    ));
    // A thousand, and none has an address: clients go to the one that has.
    wait_changes(&proxy, "added", 1000);
    for n in 0..20 {
        let id = format!("one-of-many-{n}");
        drop(Client::session(proxy.address_of("to-many"), &id));
        let line = proxy.wait_end(&id);
        assert_eq!((&line["upstream"], &line["tries"]), (&"static".into(), &1.into()));
    }
    for (name, _) in LIES {
        wait_for(name, || {
            (lookups(&proxy, name, "failed") + lookups(&proxy, name, "empty") >= 2).then_some(())
        });
        assert_eq!(lookups(&proxy, name, "ok"), 0, "{name}");
    }
    Client::session(proxy.address(), "id").echo(b"\xC0\x00");
    assert_eq!(proxy.wait_end("id")["upstream"], "static");
    let lines = proxy.stderr();
    assert!(lines.len() < 200, "{} lines", lines.len());
    assert!(!lines.iter().any(|line| line.contains("panicked")), "{lines:?}");
    let (memory, descriptors) = (proxy.memory() >> 20, proxy.descriptors());
    assert!(memory < 100 && descriptors < 150, "{memory} MiB, {descriptors} descriptors");
}
