//! `mqtt-lb openapi`: the document that describes the admin API.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use super::exit_code::FAILED;
use crate::api;

pub(super) fn print() -> ExitCode {
    match writeln!(io::stdout(), "{:#}", api::openapi()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mqtt-lb openapi: {error}");
            ExitCode::from(FAILED)
        }
    }
}
