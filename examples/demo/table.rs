//! Who is where, and whether that is where they belong.

use mqtt_lb::testing::{escape::plain, proto::mqtt::Version};

use crate::{
    Way,
    brokers::Brokers,
    clients::{Client, Session},
    log::Entry,
    paint::Paint,
    proxy::Proxy,
};

pub(crate) struct Table {
    pub(crate) rows: Vec<Row>,
}

/// One client, as the client, the access log, the brokers and `mqtt-lb route` have it.
pub(crate) struct Row {
    client: &'static Client,
    /// Its own, or the one that it was assigned.
    id: String,
    session_present: bool,
    /// What it should have come over, as the log calls it.
    transport: &'static str,
    log: Entry,
    /// The broker of each of its CONNECTs, by the brokers' word.
    visits: Vec<&'static str>,
    /// Where it belongs.
    route: Option<String>,
}

impl Row {
    pub(crate) fn new(
        client: &'static Client,
        id: String,
        session: &Session,
        log: Entry,
        way: &Way,
        proxy: &Proxy,
        brokers: &Brokers,
    ) -> Self {
        let route = proxy.route(&id);
        let visits = brokers.visits_of(&id);
        Self {
            client,
            id,
            session_present: session.present,
            transport: way.transport,
            log,
            visits,
            route: route.map(str::to_owned),
        }
    }

    /// What is not as promised.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let connects = if self.client.comes_back { 2 } else { 1 };
        if self.visits.len() != connects {
            faults.push(format!("the brokers saw {} CONNECTs of {connects}", self.visits.len()));
        }
        if self.log.transport != self.transport {
            faults.push(format!("came over {}, not {}", self.log.transport, self.transport));
        }
        let logged = self.log.upstream.as_deref();
        if self.visits.last().copied() != logged {
            faults.push(format!("the log says {logged:?}, the brokers {:?}", self.visits));
        }
        if let Some(home) = &self.route
            && self.visits.iter().any(|broker| broker != home)
        {
            faults.push(format!("belongs to {home}, was on {:?}", self.visits));
        }
        if self.session_present != self.client.comes_back {
            faults.push(format!("session present: {}", self.session_present));
        }
        if self.log.session_present.unwrap_or(false) != self.session_present {
            faults.push("the log and the client disagree about its session".to_owned());
        }
        faults
    }

    fn print(&self, paint: Paint) {
        let version = match self.client.version {
            Version::V31 => "3.1",
            Version::V311 => "3.1.1",
            Version::V5 => "5.0",
        };
        let session = if self.session_present {
            paint.green("found again")
        } else if self.client.comes_back {
            paint.red("lost")
        } else {
            "new".to_owned()
        };
        println!(
            "  {:22}  {version:7}  {}  {:10}  {session}",
            self.id,
            paint.broker(&format!("{:8}", self.log.upstream.as_deref().unwrap_or("-"))),
            self.route.as_deref().unwrap_or("any"),
        );
    }
}

impl Table {
    /// Returns whether everything was as promised.
    pub(crate) fn print(&self, paint: Paint) -> bool {
        let heading = format!(
            "{:22}  {:7}  {:8}  {:10}  {}",
            "client ID", "version", "broker", "route says", "session"
        );
        println!("  {}", paint.dim(&heading));
        for row in &self.rows {
            row.print(paint);
        }
        println!();
        let mut as_promised = true;
        for row in &self.rows {
            for fault in row.faults() {
                as_promised = false;
                println!("  {} {}: {}", paint.red("wrong:"), row.client.shown_id(), plain(&fault));
            }
        }
        if as_promised {
            let found = self.rows.iter().filter(|row| row.session_present).count();
            let at_home = self.rows.iter().filter(|row| row.route.is_some()).count();
            println!(
                "  {} {at_home} of {at_home} clients are on the broker that `route` names; \
                 {found} of {found} came back to their session.",
                paint.green("As promised:")
            );
        }
        as_promised
    }
}
