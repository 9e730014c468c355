//! The keys of a pool's `health`.

use std::{num::NonZeroU32, ops::RangeInclusive, sync::Arc};

use super::{
    ActiveCheck, Health, Passive, Probe, Secret,
    quantities::{self, ABOVE_ZERO, INTERVAL},
    secret,
    section::{Read, Section},
    units::PORT,
    values,
};

/// The return codes of MQTT 3.1.1 (table 3.1), which is what probes speak.
const RETURN_CODES: RangeInclusive<u8> = 0..=5;
/// The status codes that end a request (RFC 9110, section 15).
const STATUS_CODES: RangeInclusive<u16> = 200..=599;

pub(super) fn health(section: &mut Section<'_>) -> Read<Health> {
    let active = section.optional("active", |item| item.section(active));
    let passive = section.section("passive", passive);
    let fail_open_percent = section.or("fail_open_percent", "90", quantities::percent);
    Ok(Health {
        active: active?,
        passive: passive?,
        fail_open_percent: NonZeroU32::new(fail_open_percent?),
    })
}

#[derive(Clone, Copy)]
enum Kind {
    Tcp,
    Mqtt,
    Http,
}

fn active(section: &mut Section<'_>) -> Read<ActiveCheck> {
    let kinds = [("tcp", Kind::Tcp), ("mqtt", Kind::Mqtt), ("http", Kind::Http)];
    let kind = section.required("type", "tcp, mqtt, http", |item| values::one_of(item, &kinds));
    let interval = section.or("interval", "5s", |item| quantities::duration(item, &INTERVAL));
    let timeout = section.or("timeout", "2s", |item| quantities::duration(item, &ABOVE_ZERO));
    let rise = section.or("rise", "2", quantities::positive);
    let fall = section.or("fall", "3", quantities::positive);
    let probe = match kind {
        Ok(Kind::Tcp) => Ok(Probe::Tcp),
        Ok(Kind::Mqtt) => mqtt(section),
        Ok(Kind::Http) => http(section),
        // Which other keys there are depends on it.
        Err(reported) => {
            section.ignore_others();
            Err(reported)
        }
    };
    Ok(ActiveCheck {
        probe: probe?,
        interval: interval?,
        timeout: timeout?,
        rise: rise?,
        fall: fall?,
    })
}

fn mqtt(section: &mut Section<'_>) -> Read<Probe> {
    let username = section.optional("username", values::mqtt_string);
    let password = section.optional("password_file", secret::password_file);
    let expect = section
        .optional("expect", |item| item.some(|item| quantities::number(item, &RETURN_CODES)));
    let (username, password) = (username?, password?);
    if username.is_none() && password.is_some() {
        // 3.1.1, section 3.1.2.9.
        let message = "is there without a username; allowed: both, or a username alone";
        return Err(section.fault("password_file", message));
    }
    Ok(Probe::Mqtt { username, password, expect: expect?.unwrap_or_else(|| vec![0]) })
}

fn http(section: &mut Section<'_>) -> Read<Probe> {
    let port = section.required("port", PORT, values::port);
    let path = section.or("path", "/", values::http_path);
    let login = login(section);
    let expect = section
        .optional("expect", |item| item.some(|item| quantities::number(item, &STATUS_CODES)));
    let expect = expect?.unwrap_or_else(|| vec![200]);
    Ok(Probe::Http { port: port?, path: path?, expect, login: login? })
}

/// Of HTTP's basic authentication, which always has both.
fn login(section: &mut Section<'_>) -> Read<Option<(Arc<str>, Secret)>> {
    let username = section.optional("username", values::http_username);
    let password = section.optional("password_file", secret::password_file);
    match (username?, password?) {
        (Some(username), Some(password)) => Ok(Some((username, password))),
        (None, None) => Ok(None),
        (None, Some(_)) => {
            let message = "is there without a username; allowed: both, or neither";
            Err(section.fault("password_file", message))
        }
        (Some(_), None) => {
            let message = "is there without a password_file; allowed: both, or neither";
            Err(section.fault("username", message))
        }
    }
}

fn passive(section: &mut Section<'_>) -> Read<Option<Passive>> {
    let failures = section.or("failures", "5", quantities::limit);
    let window = section.or("window", "30s", |item| quantities::duration(item, &ABOVE_ZERO));
    let eject_for = section.or("eject_for", "30s", |item| quantities::duration(item, &ABOVE_ZERO));
    let max_ejected_percent = section.or("max_ejected_percent", "50", quantities::percent);
    let (window, eject_for, max_ejected_percent) = (window?, eject_for?, max_ejected_percent?);
    let passive = |failures| Passive { failures, window, eject_for, max_ejected_percent };
    Ok(failures?.map(passive))
}
