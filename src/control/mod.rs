//! The composition root: turns a configuration into workers and a control thread, which runs until
//! a signal ends it.

mod admin;
mod blocking_job;
mod certificates;
mod control_loop;
mod descriptors;
mod drain;
mod file_watch;
mod housekeeping;
mod listeners;
mod pools;
mod proxy;
mod reload;
mod reloading;
mod run;
mod service_manager;
mod signals;
#[cfg(test)]
mod tests;
mod upgrade;
mod warnings;

pub(crate) use control_loop::SetLogLevel;
pub(crate) use descriptors::warnings as descriptor_warnings;
pub use run::run;
pub(crate) use warnings::{expiry_warnings, staple_warnings};
