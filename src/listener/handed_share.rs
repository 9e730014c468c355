//! The shares of clients that the operator has set, as another process takes them over.

use serde::{Deserialize, Serialize};

use super::{Listener, rules::ListenerRules};
use crate::rules::Percent;

/// A share of the clients of a rule, in hundredths of a percent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HandedShare {
    listener: String,
    rule: String,
    set: u32,
    /// The configured share when it was set: if that has changed, the new one is in force.
    configured: u32,
}

impl Listener {
    /// The shares that the operator has set.
    pub(crate) fn hand_over_shares(&self) -> Vec<HandedShare> {
        let settings = self.settings();
        let rules = settings.rules.iter().flat_map(ListenerRules::iter);
        let set = rules.filter(|running| self.is_percent_set(&running.rule.name));
        set.map(|running| HandedShare {
            listener: settings.name.to_string(),
            rule: running.rule.name.to_string(),
            set: running.percent().hundredths(),
            configured: running.rule.percent.hundredths(),
        })
        .collect()
    }

    /// Sets the shares of this listener's rules that were set in the process before an upgrade.
    pub(crate) fn take_over_shares(&self, shares: &[HandedShare]) {
        let settings = self.settings();
        for share in shares.iter().filter(|share| share.listener == *settings.name) {
            let rules = settings.rules.iter().flat_map(ListenerRules::iter);
            let is_same = rules.into_iter().any(|running| {
                *running.rule.name == *share.rule
                    && running.rule.percent.hundredths() == share.configured
            });
            if is_same && let Some(percent) = Percent::from_hundredths(share.set) {
                self.set_percent(&share.rule, Some(percent));
            }
        }
    }
}
