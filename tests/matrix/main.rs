//! Each operation in the midst of each state, with the built program on loopback: afterwards the
//! proxy is what a fresh start with the same file would be, plus its sessions and what the operator
//! has set at run time.
//!
//! A new operation is a variant in `operations.rs`, a new state an entry of `states::ALL`. The cells
//! are named `operation / state`; arguments are those of any Rust test.

mod api;
mod cell;
mod device;
mod file;
mod fixture;
mod metrics;
mod operations;
mod oracle;
mod resources;
mod states;
mod stub;

#[allow(dead_code, reason = "shared with the tests of the proxy, which use all of it")]
#[path = "../proxy/broker.rs"]
mod broker;
#[allow(dead_code, reason = "shared with the tests of the proxy, which use all of it")]
#[path = "../proxy/client.rs"]
mod client;
#[allow(dead_code, reason = "shared with the tests of the proxy, which use all of it")]
#[path = "../proxy/harness.rs"]
mod harness;
#[allow(dead_code, reason = "shared with the tests of the proxy, which use all of it")]
#[path = "../proxy/name_server.rs"]
mod name_server;

#[allow(dead_code, reason = "shared with the tests of the configuration, which use all of it")]
#[path = "../config/tls/pki.rs"]
mod pki;
#[allow(dead_code, reason = "shared with the tests of the proxy, which use all of it")]
#[path = "../proxy/tls_client.rs"]
mod tls_client;

use libtest_mimic::{Arguments, Failed, Trial};

use operations::Operation;

/// What went wrong, in words.
pub(crate) type Outcome<T = ()> = Result<T, String>;

/// Cells at a time: most of each is waiting.
const AT_A_TIME: usize = 16;

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_A_TIME);
    let cells = states::ALL
        .iter()
        .flat_map(|make| Operation::ALL.map(|operation| trial(operation, *make)))
        .collect();
    libtest_mimic::run(&arguments, cells).exit();
}

fn trial(operation: Operation, make: states::Make) -> Trial {
    let state = make();
    let name = format!("{} / {}", operation.name(), state.name());
    match state.is_apart_from(operation) {
        Some(why) => Trial::test(format!("{name} (does not apply: {why})"), || Ok(()))
            .with_ignored_flag(true),
        None => Trial::test(name, move || cell::run(operation, make).map_err(Failed::from)),
    }
}
