//! DNS that fails, after it has named a broker.

use std::{
    net::Ipv4Addr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use super::State;
use crate::{
    Outcome,
    api::sum,
    device::{WITHIN, until_right},
    file::File,
    fixture::{Brokers, Fixture},
    name_server::{NameServer, Query, Record, SERVFAIL, SRV},
    operations::Operation::{self, OwnKey, PoolReAdded, PoolRemoved, Upgrade},
};

const SERVICE: &str = "_mqtt._tcp.matrix.test";
const TARGET: &str = "found.matrix.test";

/// `b1` is in the file, the other broker in DNS.
#[derive(Default)]
pub(super) struct Failing {
    server: Option<NameServer>,
    /// Another one, that the file may name instead.
    spare: Option<NameServer>,
    zone: Vec<Record>,
    /// Queries for the pool's brokers.
    asked: Arc<AtomicUsize>,
}

impl State for Failing {
    fn name(&self) -> &'static str {
        "discovery failing"
    }

    fn configure(&mut self, file: &mut File, brokers: &Brokers, _: Operation, _: &Path) {
        let (service, host) =
            (Record::srv(SERVICE, [0, 1, brokers.b2.port()], TARGET), Ipv4Addr::LOCALHOST);
        self.zone = vec![service, Record::address(TARGET, host)];
        let server = NameServer::start(Vec::new());
        answer_well(&server, &self.zone, &self.asked);
        use_server(file, &server);
        self.server = Some(server);
        let Some(pool) = &mut file.pool else { return };
        pool.brokers.truncate(1);
        pool.keys.insert("discover", format!("{{ dns: {SERVICE}, type: srv, interval: 100ms }}"));
    }

    fn change_own_key(&mut self, file: &mut File) {
        let spare = NameServer::start(Vec::new());
        answer_well(&spare, &self.zone, &self.asked);
        use_server(file, &spare);
        self.spare = Some(spare);
    }

    fn enter(&mut self, fixture: &mut Fixture, _: Operation) -> Outcome {
        fixture.wait_status(TARGET, "up")?;
        if let Some(server) = &self.server {
            server.say(|query: &Query| vec![query.answer(SERVFAIL, &[])]);
        }
        until_right(WITHIN, || {
            let failed =
                sum(&fixture.samples()?, "discovery_lookups_total", Some(("outcome", "failed")));
            if failed > 0.0 { Ok(()) } else { Err("no look-up has failed".to_owned()) }
        })
    }

    /// The last answer holds: a fault of DNS is not one of the brokers.
    fn at_once(&mut self, fixture: &mut Fixture, operation: Operation) -> Outcome {
        if matches!(operation, PoolRemoved | PoolReAdded | Upgrade) {
            return Ok(());
        }
        fixture.api.broker(TARGET).map(drop)
    }

    fn heal(&mut self, fixture: &mut Fixture, operation: Operation) -> Outcome {
        fixture.brokers.heal();
        if let Some(server) = self.server.as_ref().filter(|_| operation != OwnKey) {
            answer_well(server, &self.zone, &self.asked);
        }
        Ok(())
    }

    /// Nobody is asked for a pool that is gone, and nobody twice for one that is there.
    fn leave(&mut self, _: &mut Fixture, operation: Operation) -> Outcome {
        let window = Duration::from_secs(1);
        if operation == PoolRemoved {
            return until_right(WITHIN, || {
                let before = self.asked.load(SeqCst);
                std::thread::sleep(window / 2);
                let more = self.asked.load(SeqCst) - before;
                if more == 0 { Ok(()) } else { Err(format!("{more} queries for a removed pool")) }
            });
        }
        let (before, began) = (self.asked.load(SeqCst), Instant::now());
        std::thread::sleep(window);
        let more = self.asked.load(SeqCst) - before;
        let due = began.elapsed().as_secs_f64() / 0.1;
        if more == 0 || more as f64 > due * 1.3 + 2.0 {
            return Err(format!("{more} look-ups in the time of {due:.1}"));
        }
        // A failing server that the file names no more is left alone.
        let old = self.server.as_ref().filter(|_| operation == OwnKey);
        let Some(old) = old else { return Ok(()) };
        let before = old.queries();
        std::thread::sleep(window / 2);
        let more = old.queries() - before;
        if more == 0 { Ok(()) } else { Err(format!("{more} queries at the server of before")) }
    }
}

fn answer_well(server: &NameServer, zone: &[Record], asked: &Arc<AtomicUsize>) {
    let (zone, asked) = (zone.to_vec(), asked.clone());
    server.say(move |query: &Query| {
        if query.kind == SRV {
            asked.fetch_add(1, SeqCst);
        }
        vec![query.answer_from(&zone)]
    });
}

fn use_server(file: &mut File, server: &NameServer) {
    file.top.insert("dns", format!("{{ servers: [\"{}\"] }}", server.address));
}
