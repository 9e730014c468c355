//! Where the clients of a configuration go.

use std::{collections::HashMap, path::Path, process::ExitCode, sync::Arc};

use super::{
    facts::GivenFacts,
    pool_router::PoolRouter,
    target::{self, RouteTarget},
};
use crate::{
    balance::Choice,
    cli::check,
    config::{Listener, Pool, Rewrite},
    rules::{Action, Refusal, Rule, Verdict, explain, key_hash},
    template::{ClientFields, Template, Variable},
};

/// The routes of a listener's clients by its rules, or of the clients of one pool.
pub(super) struct Routes<'a> {
    facts: &'a GivenFacts<'a>,
    /// `None`: only the pool counts.
    listener: Option<Listener>,
    /// The pool of clients for which no rule holds.
    default_pool: usize,
    /// The pools that clients may go to, by their indices in the configuration.
    pools: HashMap<usize, PoolRouter>,
}

/// Where a client goes.
pub(super) struct Routed {
    /// On the rules of the listener, up to the one that decides.
    pub(super) verdicts: Vec<Verdict>,
    pub(super) destination: Destination,
}

pub(super) enum Destination {
    Pool {
        name: Arc<str>,
        /// The brokers in the order in which they would be tried; `Err`: why no key decides.
        brokers: Result<Vec<Arc<str>>, &'static str>,
    },
    Refused(Refusal),
    Redirected(Arc<str>),
    /// The listener cannot rewrite the CONNECT, and refuses the client.
    NotRewritten(String),
}

impl Routed {
    /// The rule that decides; `None`: no rule holds.
    pub(super) fn rule(&self) -> Option<&str> {
        self.verdicts.iter().find(|verdict| verdict.holds).map(|verdict| &*verdict.rule)
    }
}

/// Why the routes of a configuration are not known.
pub(super) enum LoadError {
    /// The faults of the file were printed.
    Reported(ExitCode),
    Usage(String),
    Discovery(String),
}

impl<'a> Routes<'a> {
    pub(super) fn load(
        file: &Path,
        listener: Option<&str>,
        pool: Option<&str>,
        facts: &'a GivenFacts<'a>,
    ) -> Result<Self, LoadError> {
        let mut config = check::load(file).map_err(LoadError::Reported)?;
        let target = target::find(&config, listener, pool).map_err(LoadError::Usage)?;
        let (listener, default_pool) = match target {
            RouteTarget::Pool(at) => (None, at),
            RouteTarget::Listener(at) => {
                let listener = config.listeners.swap_remove(at);
                let pool = listener.pool;
                (Some(listener), pool)
            }
        };
        let reached = listener.as_ref().map_or_else(|| vec![default_pool], Listener::pools);
        check_facts(facts, listener.as_ref(), reached.iter().map(|at| &config.pools[*at]))
            .map_err(LoadError::Usage)?;
        let mut pools = HashMap::new();
        for at in reached {
            let router = PoolRouter::new(config.pools[at].clone(), &config.dns);
            pools.insert(at, router.map_err(LoadError::Discovery)?);
        }
        Ok(Self { facts, listener, default_pool, pools })
    }

    /// The name of the listener, if it has rules.
    pub(super) fn listener_with_rules(&self) -> Option<&str> {
        let listener = self.listener.as_ref().filter(|listener| !listener.rules.is_empty());
        listener.map(|listener| &*listener.name)
    }

    /// The name of the only pool, if clients can go to no other.
    pub(super) fn only_pool(&self) -> Option<&str> {
        let mut names = self.pools.values().map(|router| &*router.pool.name);
        names.next().filter(|_| names.next().is_none())
    }

    /// Where the client with this ID goes, with at most `limit` brokers.
    pub(super) fn route(&mut self, id: &str, limit: usize) -> Routed {
        let listener = self.listener.as_ref();
        let name = listener.map(|listener| &*listener.name);
        let passes_through = listener.is_some_and(|listener| listener.tls_passthrough);
        // The CONNECT of a client whose TLS is passed through is not read.
        let (id, username) = if passes_through { ("", None) } else { (id, self.facts.username()) };
        let fields = self.facts.fields(id, username, name);
        let rewrite = listener.and_then(|listener| listener.identity.rewrite.as_ref());
        let names = match rewrite.map(|rewrite| rewrite.names(&fields)).transpose() {
            Ok(names) => names.unwrap_or_default(),
            Err(why) => {
                let destination = Destination::NotRewritten(why);
                return Routed { verdicts: Vec::new(), destination };
            }
        };
        let fields = ClientFields {
            client_id: names.client_id.as_deref().unwrap_or(id),
            username: names.username.as_deref().or(username),
            tls_passthrough: passes_through,
            ..fields
        };
        let rules = listener.map_or(&[][..], |listener| &listener.rules);
        let verdicts = self.verdicts(rules, fields);
        let decided = verdicts.last().filter(|verdict| verdict.holds);
        let rule = decided.and_then(|_| rules.get(verdicts.len() - 1));
        let pool = match rule.map(|rule| &rule.action) {
            None => self.default_pool,
            Some(Action::Pool(at)) => *at,
            Some(Action::Refuse(refusal)) => {
                return Routed { destination: Destination::Refused(*refusal), verdicts };
            }
            Some(Action::Redirect(server)) => {
                return Routed { destination: Destination::Redirected(server.clone()), verdicts };
            }
        };
        let destination = match self.pools.get_mut(&pool) {
            Some(router) => Destination::Pool {
                name: router.pool.name.clone(),
                brokers: router.order(&fields, limit),
            },
            None => Destination::NotRewritten("the pool is unknown".to_owned()),
        };
        Routed { verdicts, destination }
    }

    fn verdicts(&self, rules: &[Rule], fields: ClientFields<'_>) -> Vec<Verdict> {
        let mut scratch = Vec::new();
        let hash = self.pools.get(&self.default_pool).and_then(|router| {
            let balance = &router.pool.balance;
            match balance.key.choose(balance.empty_client_id, &fields, &mut scratch) {
                Choice::Key(key) | Choice::FallbackKey(key) => Some(key_hash(key)),
                Choice::LeastConnections | Choice::Assign | Choice::Reject => None,
            }
        });
        let rules = rules.iter().map(|rule| (rule, rule.percent));
        explain(rules, &self.facts.client(fields), hash)
    }
}

/// Checks that the values of all variables are given that routes depend on. Conditions of rules do
/// without: a fact that is absent meets none.
fn check_facts<'p>(
    facts: &GivenFacts<'_>,
    listener: Option<&Listener>,
    mut pools: impl Iterator<Item = &'p Pool>,
) -> Result<(), String> {
    let check = |key: String, variables: &mut dyn Iterator<Item = &Variable>| match facts
        .missing(variables, listener.is_some())
    {
        None => Ok(()),
        Some(missing) => Err(format!("{key} needs {missing}: add --var {missing}=VALUE")),
    };
    pools.try_for_each(|pool| {
        let key = format!("balance.key of pool {}", pool.name);
        check(key, &mut pool.balance.key.variables())
    })?;
    let Some(Listener { name, identity, .. }) = listener else { return Ok(()) };
    let Some(Rewrite { client_id, username, .. }) = &identity.rewrite else { return Ok(()) };
    for (key, template) in [("client_id", client_id), ("username", username)] {
        let key = format!("rewrite.{key} of listener {name}");
        check(key, &mut template.iter().flat_map(Template::variables))?;
    }
    Ok(())
}
