//! What is done to a proxy in the midst of something: the rows of the matrix.

use std::{thread, time::Duration};

use rustix::process::Signal;

use crate::{
    Outcome,
    file::{OTHER, POOL},
    fixture::{Fixture, write},
    states::State,
};

/// How long a pool that comes back was away: what its removal ends is over by then, such as a
/// rebalancing that takes its next step within half a second.
const GONE_FOR: Duration = Duration::from_millis(700);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// A reload of the same file.
    Unchanged,
    /// A key that has nothing to do with the state.
    OtherKey,
    /// The key that governs the state.
    OwnKey,
    ChecksRemoved,
    EjectionRemoved,
    AdmissionRemoved,
    PoolRemoved,
    /// The pool and its listener, by one reload, and back by the next.
    PoolReAdded,
    BrokerRemoved,
    AddressChanged,
    WeightChanged,
    ListenerMoved,
    /// What clients have to be, and what their brokers are told.
    IdentityChanged,
    /// Where clients may go: where they are now, by rules.
    RulesChanged,
    /// How many clients may come from where, and how fast: more than there are.
    LimitsChanged,
    /// The contents of a file that the configuration names, without a signal.
    FilesChanged,
    /// Another process takes over.
    Upgrade,
    Drain,
}

use Operation::{
    AddressChanged, AdmissionRemoved, BrokerRemoved, ChecksRemoved, Drain, EjectionRemoved,
    FilesChanged, IdentityChanged, LimitsChanged, ListenerMoved, OtherKey, OwnKey, PoolReAdded,
    PoolRemoved, RulesChanged, Unchanged, Upgrade, WeightChanged,
};

impl Operation {
    pub(crate) const ALL: [Self; 18] = [
        Unchanged,
        OtherKey,
        OwnKey,
        ChecksRemoved,
        EjectionRemoved,
        AdmissionRemoved,
        PoolRemoved,
        PoolReAdded,
        BrokerRemoved,
        AddressChanged,
        WeightChanged,
        ListenerMoved,
        IdentityChanged,
        RulesChanged,
        LimitsChanged,
        FilesChanged,
        Upgrade,
        Drain,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Unchanged => "nothing changed",
            OtherKey => "other key changed",
            OwnKey => "own key changed",
            ChecksRemoved => "checks removed",
            EjectionRemoved => "ejection removed",
            AdmissionRemoved => "admission removed",
            PoolRemoved => "pool removed",
            PoolReAdded => "pool re-added",
            BrokerRemoved => "broker removed",
            AddressChanged => "address changed",
            WeightChanged => "weight changed",
            ListenerMoved => "listener moved",
            IdentityChanged => "identity changed",
            RulesChanged => "rules changed",
            LimitsChanged => "limits changed",
            FilesChanged => "files changed",
            Upgrade => "upgrade",
            Drain => "drain",
        }
    }

    /// Whether `b1`, to which the state has happened, is still a broker of the pool behind it.
    pub(crate) fn keeps_b1(self) -> bool {
        !matches!(self, PoolRemoved | BrokerRemoved | Drain)
    }

    /// Whether what is known of `b1` is of a pool or an address that is gone.
    pub(crate) fn makes_b1_new(self) -> bool {
        matches!(self, PoolReAdded | AddressChanged)
    }

    /// Does it, and waits until it has been done.
    pub(crate) fn apply(self, fixture: &mut Fixture, state: &mut dyn State) -> Outcome {
        if self == Drain {
            fixture.tell(Signal::TERM);
            return Ok(());
        }
        if self == Upgrade {
            return fixture.upgrade();
        }
        if self == PoolReAdded {
            let pool = fixture.file.pool.take();
            fixture.file.listens = false;
            fixture.reload()?;
            thread::sleep(GONE_FOR);
            fixture.file.pool = pool;
            fixture.file.listens = true;
            return fixture.reload();
        }
        if self == FilesChanged {
            let list = fixture.proxy.path("denied.txt");
            fixture.file.top.insert("watch_interval", "100ms".to_owned());
            fixture.file.identity = format!(", deny: {{ file: \"{}\" }}", list.display());
            write(&list, "192.0.2.0/24\n")?;
            fixture.reload()?;
            write(&list, "198.51.100.0/24\n")?;
            return fixture.wait_applied();
        }
        self.change(fixture, state);
        fixture.reload()
    }

    fn change(self, fixture: &mut Fixture, state: &mut dyn State) {
        let moved = fixture.brokers.moved.address();
        let file = &mut fixture.file;
        match self {
            PoolRemoved => {
                file.pool = None;
                return;
            }
            ListenerMoved => {
                file.bind = file.bind.replace("127.0.0.1", "127.0.0.2");
                return;
            }
            IdentityChanged => {
                let identity = "require: [{ client_id: \"*\" }], connect: lenient, \
                                rewrite: { username: \"u/${client_id}\", \
                                user_properties: [{ name: ip, value: \"${source_ip}\" }] }";
                file.identity = format!(", {identity}");
                return;
            }
            RulesChanged => {
                let pool = if file.pool.is_some() { POOL } else { OTHER };
                // Conditions that a listener that passes TLS through can have as well.
                let rules = format!(
                    "{{ name: none, when: {{ source: 192.0.2.0/24 }}, refuse: banned }}, \
                     {{ name: half, when: {{ percent: 50 }}, pool: {pool} }}, \
                     {{ name: host, when: {{ sni: \"*.gone.example\" }}, pool: {OTHER} }}"
                );
                file.identity = format!(", rules: [{rules}]");
                return;
            }
            LimitsChanged => {
                let rate = "{ rate: 100000, burst: 100000, ban_for: 1m }";
                let limits = format!(
                    "{{ handshakes_per_ip: {rate}, connects_per_client_id: {rate}, \
                     connects_per_username: {rate}, bad_credentials_per_ip: {rate}, \
                     max_connections_per_username: 100000, \
                     quotas: [{{ name: q, key: \"${{client_id}}\", max_connections: 1000 }}] }}"
                );
                file.top.entry("limits").or_insert(limits);
                ", deny: [192.0.2.0/24]".clone_into(&mut file.identity);
                return;
            }
            OwnKey => return state.change_own_key(file),
            _ => {}
        }
        let Some(pool) = &mut file.pool else { return };
        match self {
            OtherKey => drop(pool.keys.insert("connect_timeout", "1100ms".to_owned())),
            ChecksRemoved => pool.active = None,
            EjectionRemoved => pool.passive = String::from("{ failures: 0 }"),
            AdmissionRemoved => drop(pool.keys.remove("admission")),
            BrokerRemoved => drop(pool.brokers.remove(0)),
            AddressChanged => pool.brokers[0].address = moved,
            WeightChanged => {
                // Of both, so that what the operator has set of either is outdated.
                for (broker, weight) in pool.brokers.iter_mut().zip([3, 2]) {
                    broker.weight = weight;
                }
            }
            Unchanged | OwnKey | PoolRemoved | PoolReAdded | ListenerMoved | IdentityChanged
            | RulesChanged | LimitsChanged | FilesChanged | Upgrade | Drain => {}
        }
    }
}
