//! The health of brokers: what is known about each of them, the active checks, and the probes
//! during an outage.

mod checks;
mod outage_probes;
mod state;

pub(super) use checks::check;
pub(super) use outage_probes::probe_outages;
pub use state::BrokerState;
pub(super) use state::{
    CircuitState, HandedEjection, HealthChange, HealthState, before, millis_ago,
};
