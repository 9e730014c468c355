//! What became of the messages and the sessions.

use std::{collections::BTreeSet, mem, time::Duration};

use serde_json::{Value, json};

/// How many faults are described.
const MAX_DESCRIBED: usize = 20;

#[derive(Default)]
pub(crate) struct Report {
    pub(crate) messages: u64,
    pub(crate) pings: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) out_of_order: u64,
    pub(crate) damaged: u64,
    /// Sessions that ended before their client did.
    pub(crate) ended: u64,
    /// Clients that have a session.
    pub(crate) connected: u64,
    /// Counts the lines `round`.
    pub(crate) round: u64,
    /// The clients that have had an answer to what they sent in this round.
    served: BTreeSet<usize>,
    /// Sessions whose client took leave of its own accord.
    pub(crate) finished: u64,
    described: Vec<String>,
    /// The longest round trip of each client that pings, since the last question.
    longest: Vec<Duration>,
}

impl Report {
    pub(crate) fn describe(&mut self, fault: String) {
        if self.described.len() < MAX_DESCRIBED {
            self.described.push(fault);
        }
    }

    pub(crate) fn begin_round(&mut self) {
        self.round += 1;
        self.served.clear();
    }

    /// A client has had the answer to what it sent in this round.
    pub(crate) fn note_served(&mut self, client: usize, round: u64) {
        if round == self.round {
            self.served.insert(client);
        }
    }

    /// The place of another client that pings.
    pub(crate) fn add_pinger(&mut self) -> usize {
        self.longest.push(Duration::ZERO);
        self.longest.len() - 1
    }

    pub(crate) fn note_ping(&mut self, pinger: usize, took: Duration) {
        self.pings += 1;
        self.longest[pinger] = self.longest[pinger].max(took);
    }

    /// Quantiles of the longest round trips of each client since the last call, in milliseconds.
    pub(crate) fn gaps(&mut self) -> Value {
        let none = vec![Duration::ZERO; self.longest.len()];
        let mut longest = mem::replace(&mut self.longest, none);
        longest.sort_unstable();
        let at = |part: f64| {
            let index = (longest.len() as f64 * part) as usize;
            let gap = longest.get(index.min(longest.len().saturating_sub(1)));
            gap.map_or(0.0, |gap| gap.as_secs_f64() * 1e3)
        };
        json!({ "pingers": longest.len(), "p50": at(0.5), "p99": at(0.99), "max": at(1.0) })
    }

    pub(crate) fn outcome(&self, sessions: usize) -> Value {
        json!({
            "sessions": sessions,
            "finished": self.finished,
            "ended": self.ended,
            "connected": self.connected,
            "served": self.served.len(),
            "messages": self.messages,
            "pings": self.pings,
            "lost": self.lost,
            "doubled": self.doubled,
            "out_of_order": self.out_of_order,
            "damaged": self.damaged,
            "faults": self.described,
        })
    }
}
