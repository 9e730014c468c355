//! A pool's `health`.

use std::{num::NonZeroU32, ops::RangeInclusive, sync::Arc};

use super::{Checker, Valid, checker::given};
use crate::config::{
    ActiveCheck, Health, Passive, Probe, Secret,
    at::{At, Place},
    fault::quote,
    raw::{self, CheckType, Code, List},
};

/// The return codes of MQTT 3.1.1 (table 3.1), which is what probes speak.
const RETURN_CODES: RangeInclusive<u16> = 0..=5;
/// The status codes that end a request (RFC 9110, section 15).
const STATUS_CODES: RangeInclusive<u16> = 200..=599;

pub(super) fn health(checker: &Checker<'_>, raw: &raw::Health) -> Valid<Health> {
    let active = given(raw.active.as_ref(), |raw| active(checker, raw));
    let passive = passive(raw.passive.get()?);
    Ok(Health {
        active: active?,
        passive: passive?,
        fail_open_percent: NonZeroU32::new(raw.fail_open_percent.get()?.0),
    })
}

fn active(checker: &Checker<'_>, raw: &At<raw::Active>) -> Valid<ActiveCheck> {
    let (raw, section) = (raw.get()?, raw.place());
    let probe = match checker.required(&section, "type", &raw.kind, "tcp, mqtt, http")? {
        CheckType::Tcp => Ok(Probe::Tcp),
        CheckType::Mqtt => mqtt(checker, raw),
        CheckType::Http => http(checker, &section, raw),
    };
    Ok(ActiveCheck {
        probe: probe?,
        interval: raw.interval.get()?.0,
        timeout: raw.timeout.get()?.0,
        rise: raw.rise.get()?.0,
        fall: raw.fall.get()?.0,
    })
}

/// The username and the password of a probe.
type Login = (Option<Arc<str>>, Option<Secret>);

fn login(checker: &Checker<'_>, raw: &raw::Active) -> Valid<Login> {
    let username = given(raw.username.as_ref(), |name| Ok(name.get()?.0.clone()));
    let password = given(raw.password_file.as_ref(), |file| checker.password(file));
    Ok((username?, password?))
}

fn mqtt(checker: &Checker<'_>, raw: &raw::Active) -> Valid<Probe> {
    let login = login(checker, raw);
    let expect = expect(checker, raw.expect.as_ref(), &RETURN_CODES);
    let (username, password) = login?;
    if let (None, Some(file)) = (&username, &raw.password_file) {
        // 3.1.1, section 3.1.2.9.
        let allowed = "both, or a username alone";
        return Err(checker.wrong(&file.place(), "is given without a username", allowed));
    }
    let expect = expect?.unwrap_or_else(|| vec![0]).into_iter().map(|code| code as u8).collect();
    Ok(Probe::Mqtt { username, password, expect })
}

fn http(checker: &Checker<'_>, section: &Place, raw: &raw::Active) -> Valid<Probe> {
    let port = match &raw.port {
        Some(port) => port.get().map(|port| port.0),
        None => Err(checker.missing(section, "port", "a port from 1 to 65535")),
    };
    let login = basic_authentication(checker, raw);
    let expect = expect(checker, raw.expect.as_ref(), &STATUS_CODES);
    let path = given(raw.path.as_ref(), |path| path.get().map(|path| path.0.clone()))?;
    let expect = expect?.unwrap_or_else(|| vec![200]);
    Ok(Probe::Http { port: port?, path: path.unwrap_or_else(|| "/".into()), expect, login: login? })
}

/// Basic authentication of HTTP always has a username and a password. The username ends at a colon
/// (RFC 7617, section 2).
fn basic_authentication(
    checker: &Checker<'_>,
    raw: &raw::Active,
) -> Valid<Option<(Arc<str>, Secret)>> {
    const BOTH: &str = "both, or neither";
    let login = login(checker, raw)?;
    if let (Some(at), (Some(username), _)) = (&raw.username, &login)
        && username.contains(':')
    {
        let what = format!("{} cannot be sent", quote(username));
        return Err(checker.wrong(&at.place(), what, "text without colons and control characters"));
    }
    match (login, &raw.username, &raw.password_file) {
        ((Some(username), Some(password)), ..) => Ok(Some((username, password))),
        (_, None, Some(file)) => {
            Err(checker.wrong(&file.place(), "is given without a username", BOTH))
        }
        (_, Some(username), _) => {
            Err(checker.wrong(&username.place(), "is given without a password_file", BOTH))
        }
        _ => Ok(None),
    }
}

fn expect(
    checker: &Checker<'_>,
    raw: Option<&At<List<Code>>>,
    codes: &RangeInclusive<u16>,
) -> Valid<Option<Vec<u16>>> {
    let Some(raw) = raw else { return Ok(None) };
    let valid = checker.some(raw, |at| {
        let code = at.get()?.0;
        if codes.contains(&code) {
            return Ok(code);
        }
        let allowed = format!("a whole number from {} to {}", codes.start(), codes.end());
        Err(checker.wrong(&at.place(), format!("\"{code}\" is out of range"), &allowed))
    });
    valid.map(Some)
}

fn passive(raw: &raw::Passive) -> Valid<Option<Passive>> {
    let (window, eject_for) = (raw.window.get()?.0, raw.eject_for.get()?.0);
    let max_ejected_percent = raw.max_ejected_percent.get()?.0;
    let passive = |failures| Passive { failures, window, eject_for, max_ejected_percent };
    Ok(raw.failures.get()?.0.map(passive))
}
