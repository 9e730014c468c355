//! `mqtt-lb route`: the brokers of a client ID, without a running proxy.

mod args;
mod client_ids;
mod compare;
mod facts;
mod pool_router;
mod print;
mod report;
mod routes;
mod target;

use std::{fmt::Display, io, path::Path, process::ExitCode};

use super::exit_code::{BAD_CONFIG, FAILED};
pub(super) use args::RouteArgs;
use facts::GivenFacts;
use report::report;
use routes::{LoadError, Routes};

pub(super) fn route(args: &RouteArgs) -> ExitCode {
    let facts = GivenFacts::new(&args.client);
    let load = |file| {
        Routes::load(file, args.listener.as_deref(), args.pool.as_deref(), &facts).map_err(
            |error| match error {
                LoadError::Reported(code) => code,
                LoadError::Usage(error) => fail(file, &error, BAD_CONFIG),
                LoadError::Discovery(error) => fail(file, &error, FAILED),
            },
        )
    };
    let here = match load(&args.file.config) {
        Ok(routes) => routes,
        Err(code) => return code,
    };
    let printed = match args.against.as_deref().map(load) {
        None => print::print(here, &args.ids, args.json),
        Some(Ok(there)) => compare::compare(here, there, &args.ids, args.json),
        Some(Err(code)) => return code,
    };
    match printed {
        Ok(0) => ExitCode::SUCCESS,
        // Lines were skipped and reported.
        Ok(_) => ExitCode::from(FAILED),
        // The reader, such as `head`, has closed the pipe.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::from(FAILED)
        }
    }
}

fn fail(file: &Path, error: &dyn Display, code: u8) -> ExitCode {
    report(&format_args!("{}: {error}", file.display()));
    ExitCode::from(code)
}
