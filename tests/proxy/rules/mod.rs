//! Where a client may go: the rules of a listener.

mod canary;
mod conditions;
mod lists;
mod moves;
mod queued;
mod refusals;
mod route;
mod warnings;

use crate::{broker::Broker, config::Config, harness::Proxy};

/// Two pools of one broker each, `brokers` and `other`.
struct TwoPools {
    config: Config,
    main: Broker,
    other: Broker,
}

impl TwoPools {
    fn new() -> Self {
        let (main, other) = (Broker::echoing(), Broker::echoing());
        let config = Config::of([&main]).another_pool("other", &other, "");
        Self { config, main, other }
    }

    fn with(&self, rules: &str) -> Config {
        self.config.clone().listener(&format!("rules: [{rules}]"))
    }

    fn start(&self, rules: &str) -> Proxy {
        self.with(rules).start()
    }
}

/// Whether a client belongs to a share, by the formula in the manual.
fn is_in_share(client_id: &str, percent: &str) -> bool {
    let hash = xxhash_rust::xxh3::xxh3_64_with_seed(client_id.as_bytes(), 0x0070_6572_6365_6e74);
    let percent: f64 = percent.parse().unwrap();
    (((hash >> 32) * 10_000) >> 32) < (percent * 100.0).round() as u64
}
