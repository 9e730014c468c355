//! Settings that are a word or a quantity.

use std::{fmt, num::NonZeroUsize};

use super::{
    number::{HOUR, Number, Time, show_duration},
    scalar::{Invalid, Scalar, scalar},
};
use crate::config::{Idle, TcpUserTimeout, Workers, fault::quote};

/// The most CPUs that a glibc CPU set names (CPU_SETSIZE).
type WorkerCount = Number<NonZeroUsize, 1, 1024>;
/// TCP_USER_TIMEOUT is a signed 32-bit number of milliseconds in the kernel, 0 meaning "unset".
type UserTimeout = Time<1, { 596 * HOUR }>;

scalar!(impl [] Workers: StringOrInteger, format!("auto, or {}", WorkerCount::allowed()), workers, {
    "anyOf": [{ "enum": ["auto"] }, WorkerCount::schema()],
});

fn workers(text: &str) -> Result<Workers, Invalid> {
    if text == "auto" {
        return Ok(Workers::Auto);
    }
    quantity::<WorkerCount>(text).map(|count| Workers::Number(count.0))
}

scalar!(impl [] Idle: String, format!("keepalive, none, or {}", <Time>::allowed()), idle, {
    "anyOf": [{ "enum": ["keepalive", "none"] }, <Time>::schema()],
});

fn idle(text: &str) -> Result<Idle, Invalid> {
    match text {
        "keepalive" => Ok(Idle::KeepAlive),
        "none" => Ok(Idle::Never),
        _ => quantity::<Time>(text).map(|time| Idle::After(time.0)),
    }
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeepAlive => f.write_str("keepalive"),
            Self::After(time) => f.write_str(&show_duration(*time)),
            Self::Never => f.write_str("none"),
        }
    }
}

scalar!(impl [] TcpUserTimeout: String, format!("auto, or {}", UserTimeout::allowed()), user_timeout, {
    "anyOf": [{ "enum": ["auto"] }, UserTimeout::schema()],
});

fn user_timeout(text: &str) -> Result<TcpUserTimeout, Invalid> {
    match text {
        "auto" => Ok(TcpUserTimeout::Auto),
        _ => quantity::<UserTimeout>(text).map(|time| TcpUserTimeout::After(time.0)),
    }
}

impl fmt::Display for TcpUserTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::After(time) => f.write_str(&show_duration(*time)),
        }
    }
}

/// A quantity, where the text is not one of the words.
fn quantity<Q: Scalar>(text: &str) -> Result<Q, Invalid> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        return Err(Invalid::new(format!("{} is unknown", quote(text))));
    }
    Q::parse(text).map_err(|invalid| match invalid.allowed {
        None => invalid.allowed(Q::allowed()),
        Some(_) => invalid,
    })
}
