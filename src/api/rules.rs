use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::{Counts, Word, whole_if_possible};

/// Where the clients of each listener may go.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Rules {
    /// In the order of the configuration.
    pub(crate) listeners: Vec<ListenerRules>,
}

/// The rules of a listener.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ListenerRules {
    pub(crate) listener: Arc<str>,
    /// The pool of clients for which no rule holds.
    pub(crate) default_pool: Arc<str>,
    /// Of the default pool.
    pub(crate) traffic: Traffic,
    /// In the order in which they are applied.
    pub(crate) rules: Vec<Rule>,
}

/// A rule of a listener.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) name: Arc<str>,
    #[schemars(extend("enum" = ["pool", "refuse", "redirect"]))]
    pub(crate) action: Word,
    /// The pool, the reason of the refusal, or the other server.
    pub(crate) target: Arc<str>,
    /// The share of clients in force.
    #[serde(serialize_with = "whole_if_possible")]
    #[schemars(range(min = 0, max = 100))]
    pub(crate) percent: f64,
    #[serde(serialize_with = "whole_if_possible")]
    #[schemars(range(min = 0, max = 100))]
    pub(crate) configured_percent: f64,
    /// Whether the operator has set the share in force.
    pub(crate) set_by_operator: bool,
    /// Clients that the rule has decided about since the start.
    pub(crate) hits: u64,
    /// Of the rule's pool; absent if the rule has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) traffic: Option<Traffic>,
}

impl Rule {
    /// What an operator who has lowered the share may not expect: the rule was written for all
    /// clients that match it.
    pub(crate) fn share_warning(&self) -> Option<String> {
        let Self { name, percent, .. } = self;
        let does = match &*self.action {
            "refuse" => "refuses",
            "redirect" => "redirects",
            _ if self.configured_percent < 100.0 => return None,
            _ => "applies to",
        };
        (*percent < self.configured_percent).then(|| {
            format!(
                "rule {name} {does} only {percent} % of the clients that match it; the rules below \
                 it, or the listener's pool, decide about the others"
            )
        })
    }
}

/// How a pool serves its clients: the sums of its brokers' counts, whichever rule or listener the
/// clients came by.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Traffic {
    /// Sessions now, including those being established.
    pub(crate) sessions: u64,
    /// CONNECTs since the start that a broker was chosen for; each broker tried counts.
    pub(crate) connects: u64,
    /// Those that a broker refused by its CONNACK.
    pub(crate) refused: u64,
    /// Those that a broker did not answer: it could not be reached, or sent no CONNACK.
    pub(crate) failed: u64,
    /// CONNACKs since the start, by reason.
    pub(crate) connacks: Counts,
}

/// What is to change about a rule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RuleChange {
    /// The share of clients, with up to two decimals, or null for the one in the configuration.
    #[schemars(range(min = 0, max = 100))]
    pub(crate) percent: Option<f64>,
}
