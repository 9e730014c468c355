//! The keys of an entry of `access_log`.

use std::{ops::RangeInclusive, path::Path, sync::Arc, time::Duration};

use super::{
    AccessLog, LogEvents, LogTarget, Rotate, Syslog, SyslogAddress, WhenFull,
    fault::quote,
    quantities,
    section::{Item, Read, Section},
    units::{self, Written},
    values,
};

/// From what holds a line to a tebibyte, which no reader takes in one piece.
const ROTATE_SIZE: RangeInclusive<usize> = 1024..=1 << 40;
/// Names are from `.1` on; each rotation renames all of them.
const ROTATE_KEEP: RangeInclusive<u32> = 1..=1000;
/// Faster than once a second, names would change under whoever reads them.
const ROTATE_AGE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(24 * 365);

/// RFC 5424, 6.2.1, table 1, by the names of syslog.conf(5).
const FACILITIES: &[(&str, u8)] = &[
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// RFC 5424, 6.2.1, table 2, by the names of syslog.conf(5).
const SEVERITIES: &[(&str, u8)] = &[
    ("emerg", 0),
    ("alert", 1),
    ("crit", 2),
    ("err", 3),
    ("warning", 4),
    ("notice", 5),
    ("info", 6),
    ("debug", 7),
];

/// Where the logs of a file go, and the lines that say so.
pub(super) type Targets = Vec<(LogTarget, usize)>;

pub(super) fn access_log(item: &Item<'_>, others: &mut Targets) -> Read<AccessLog> {
    item.section(|section| {
        let to = target(section);
        let rotate = section.optional("rotate", |item| item.section(rotate));
        let format = section.or("format", "json", values::log_line_format);
        let events = section.optional("events", events);
        let when_full = section.or("when_full", "block", |item| {
            values::one_of(item, &[("block", WhenFull::Block), ("drop", WhenFull::Drop)])
        });
        let to = to?;
        if section.has("rotate") && !can_rotate(&to) {
            let message =
                format!("{to} cannot be put aside; allowed: rotate beside the path of a file");
            return Err(section.fault("rotate", &message));
        }
        if let Some((_, line)) = others.iter().find(|(other, _)| *other == to) {
            let message = format!(
                "goes to {to}, as the log at line {line} does; allowed: a place of its own"
            );
            return Err(item.fault(message));
        }
        others.push((to.clone(), item.node.at.line));
        Ok(AccessLog {
            to,
            rotate: rotate?,
            format: format?,
            events: events?.unwrap_or(LogEvents::DEFAULT),
            when_full: when_full?,
        })
    })
}

/// One of three keys says where the lines go.
fn target(section: &mut Section<'_>) -> Read<LogTarget> {
    let path = section.optional("path", values::output_file);
    let stdout = section.optional("stdout", |item| {
        if !values::boolean(item)? {
            return Err(item.wrong("is no place for lines", "true; or path or syslog in its place"));
        }
        Ok(LogTarget::Stdout)
    });
    let syslog = section.optional("syslog", |item| item.section(syslog));
    let mut given = ["path", "stdout", "syslog"].into_iter().filter(|key| section.has(key));
    if let (Some(first), Some(second)) = (given.next(), given.next()) {
        let message = format!("is beside {first}; allowed: one of path, stdout, syslog");
        return Err(section.fault(second, &message));
    }
    let target = match path? {
        Some(path) if path == Path::new("/dev/stdout") => Some(LogTarget::Stdout),
        path => path.map(LogTarget::File).or(stdout?).or(syslog?.map(LogTarget::Syslog)),
    };
    target.ok_or_else(|| {
        section.missing("path", "the path of a file; or stdout or syslog in its place")
    })
}

/// Devices are not files that could be renamed.
fn can_rotate(to: &LogTarget) -> bool {
    matches!(to, LogTarget::File(path) if !path.starts_with("/dev"))
}

fn rotate(section: &mut Section<'_>) -> Read<Rotate> {
    let size = section.optional("size", |item| quantities::size(item, &ROTATE_SIZE));
    let age = section.optional("age", |item| quantities::duration(item, &ROTATE_AGE));
    let keep = section.or("keep", "7", |item| quantities::number(item, &ROTATE_KEEP));
    let (size, age) = (size?.map(|size| size as u64), age?);
    if size.is_none() && age.is_none() {
        return Err(section.missing("size", "a size such as 100MiB; or age in its place, or both"));
    }
    Ok(Rotate { size, age, keep: keep? })
}

fn events(item: &Item<'_>) -> Read<LogEvents> {
    type Of = fn(&mut LogEvents) -> &mut bool;
    let words: &[(&str, Of)] = &[
        ("connect", |events| &mut events.connect),
        ("disconnect", |events| &mut events.disconnect),
        ("reject", |events| &mut events.reject),
        ("probe", |events| &mut events.probe),
    ];
    let mut events = LogEvents::NONE;
    item.some(|item| {
        let of = values::one_of(item, words)?;
        if std::mem::replace(of(&mut events), true) {
            return Err(item.fault("is there twice; keep one"));
        }
        Ok(())
    })?;
    Ok(events)
}

fn syslog(section: &mut Section<'_>) -> Read<Syslog> {
    let to = section.required("to", SYSLOG, syslog_address);
    let facility = section.or("facility", "local0", |item| values::one_of(item, FACILITIES));
    let severity = section.or("severity", "info", |item| values::one_of(item, SEVERITIES));
    let app_name = section.or("app_name", "mqtt-lb", app_name);
    Ok(Syslog { to: to?, facility: facility?, severity: severity?, app_name: app_name? })
}

const SYSLOG: &str = "unix:/PATH, udp://HOST:PORT or tcp://HOST:PORT";

fn syslog_address(item: &Item<'_>) -> Read<SyslogAddress> {
    let text = item.expanded(SYSLOG)?;
    if let Some(path) = text.strip_prefix("unix:") {
        return item.socket_path(path).map(SyslogAddress::Unix);
    }
    let wrong = || item.wrong(&format!("{} is no receiver's address", quote(&text)), SYSLOG);
    let (scheme, address) = text.split_once("://").ok_or_else(wrong)?;
    match item.understood(units::address(address), SYSLOG)? {
        Written::Ip(ip) if ip.port() == 0 => return Err(item.port_zero(&text)),
        Written::Host(_, 0) => return Err(item.port_zero(&text)),
        Written::Ip(_) | Written::Host(..) => {}
        Written::Unix(_) => return Err(wrong()),
    }
    match scheme {
        "udp" => Ok(SyslogAddress::Udp(address.into())),
        "tcp" => Ok(SyslogAddress::Tcp(address.into())),
        _ => Err(wrong()),
    }
}

/// APP-NAME: RFC 5424, 6.2.5.
fn app_name(item: &Item<'_>) -> Read<Arc<str>> {
    const ALLOWED: &str = "1 to 48 printable characters of ASCII, without spaces";
    let text = item.text(ALLOWED)?;
    if !(1..=48).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(item.wrong(&format!("{} is not an application's name", quote(text)), ALLOWED));
    }
    Ok(text.into())
}
