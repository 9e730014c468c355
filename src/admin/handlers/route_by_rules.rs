//! What the rules of a listener decide about a client.

use std::sync::Arc;

use crate::{
    balance::Choice,
    config::RewrittenNames,
    listener::{Listener, ListenerRules, ListenerSettings},
    rules::{Action, ClientFacts, Refusal, Verdict, explain, key_hash},
    template::ClientFields,
    upstream::Pool,
};

/// What would become of a client of a listener.
pub(super) struct RuleOutcome {
    settings: Arc<ListenerSettings>,
    /// The client ID and the username that the broker would be sent, where they are rewritten.
    client_id: Option<String>,
    username: Option<String>,
    /// On the rules up to the one that decides.
    pub(super) verdicts: Vec<Verdict>,
    pub(super) decision: Decision,
}

pub(super) enum Decision {
    Pool(Arc<Pool>),
    Refuse(Refusal),
    Redirect(Arc<str>),
    /// The CONNECT cannot be rewritten, for this reason, so that the client is refused.
    CannotRewrite(String),
}

/// Applies the `rewrite` and the rules of a listener, with the shares in force.
pub(super) fn outcome(listener: &Listener, client: &ClientFacts<'_>) -> RuleOutcome {
    let settings = listener.settings();
    let fields = ClientFields {
        listener: Some(&settings.name),
        tls_passthrough: settings.passes_tls_through(),
        ..client.fields
    };
    let identity = settings.identity.as_deref();
    let rewrite = identity.and_then(|identity| identity.rewrite.as_ref());
    let names = rewrite.map(|rewrite| rewrite.names(&fields)).transpose();
    let (names, failure) = match names {
        Ok(names) => (names.unwrap_or_default(), None),
        Err(why) => (RewrittenNames::default(), Some(why)),
    };
    let mut outcome = RuleOutcome {
        client_id: names.client_id.map(Into::into),
        username: names.username.map(Into::into),
        verdicts: Vec::new(),
        decision: Decision::Pool(settings.pool.clone()),
        settings: settings.clone(),
    };
    if let Some(why) = failure {
        outcome.decision = Decision::CannotRewrite(why);
        return outcome;
    }
    let facts = ClientFacts { fields: outcome.fields(client), ..*client };
    let rules = || settings.rules.iter().flat_map(ListenerRules::iter);
    let shares = rules().map(|running| (&running.rule, running.percent()));
    let verdicts = explain(shares, &facts, percent_hash(&settings, &facts.fields));
    let decides = verdicts.last().is_some_and(|verdict| verdict.holds);
    let running = rules().nth(verdicts.len().saturating_sub(1)).filter(|_| decides);
    outcome.verdicts = verdicts;
    if let Some(running) = running {
        outcome.decision = match (&running.rule.action, &running.pool) {
            (Action::Refuse(refusal), _) => Decision::Refuse(*refusal),
            (Action::Redirect(server), _) => Decision::Redirect(server.clone()),
            (Action::Pool(_), pool) => {
                Decision::Pool(pool.clone().unwrap_or_else(|| settings.pool.clone()))
            }
        };
    }
    outcome
}

impl RuleOutcome {
    pub(super) fn listener(&self) -> Arc<str> {
        self.settings.name.clone()
    }

    /// The rule that decides; `None`: no rule holds.
    pub(super) fn rule(&self) -> Option<Arc<str>> {
        let decides = self.verdicts.iter().find(|verdict| verdict.holds);
        decides.map(|verdict| verdict.rule.clone())
    }

    /// The client as its broker would see it. The CONNECT of a client whose TLS is passed through is
    /// not read.
    pub(super) fn fields<'a>(&'a self, client: &ClientFacts<'a>) -> ClientFields<'a> {
        let fields = client.fields;
        let passes_through = self.settings.passes_tls_through();
        let read = |text: Option<&'a str>| text.filter(|_| !passes_through);
        ClientFields {
            client_id: self.client_id.as_deref().or(read(Some(fields.client_id))).unwrap_or(""),
            username: self.username.as_deref().or(read(fields.username)),
            listener: Some(&self.settings.name),
            tls_passthrough: passes_through,
            ..fields
        }
    }
}

/// The hash of the key of the listener's own pool: every rule divides the same clients.
fn percent_hash(settings: &ListenerSettings, client: &ClientFields<'_>) -> Option<u64> {
    let balance = &settings.pool.config().balance;
    let mut scratch = Vec::new();
    match balance.key.choose(balance.empty_client_id, client, &mut scratch) {
        Choice::Key(key) | Choice::FallbackKey(key) => Some(key_hash(key)),
        Choice::LeastConnections | Choice::Assign | Choice::Reject => None,
    }
}
