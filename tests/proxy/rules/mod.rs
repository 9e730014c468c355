//! Where a client may go: the rules of a listener.

mod conditions;
mod lists;
mod moves;
mod refusals;

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
