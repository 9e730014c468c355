//! The admin listener: health, metrics, the API and its dashboard over HTTP, on its own thread.

mod body;
mod budget;
mod connections;
mod dashboard;
mod guard;
mod handlers;
mod json;
mod reload_channel;
mod request;
mod response;
mod router;
mod server;
mod socket;
mod state;
mod upgrade_channel;
mod write_timeout;

pub(crate) use self::{
    reload_channel::{FinishedReload, LastReloads, ReloadChannel, ReloadOutcome, ReloadRequest},
    server::{AdminMode, AdminThread},
    socket::AdminListener,
    state::AdminState,
    upgrade_channel::{
        PreviousProcess, PreviousState, UpgradeChannel, UpgradeOutcome, UpgradeRequest,
        UpgradeStatus,
    },
};

#[cfg(test)]
mod tests;
