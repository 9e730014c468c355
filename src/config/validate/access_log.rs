//! Access logs.

use std::path::Path;

use super::{Checker, Valid, checker::given};
use crate::config::{
    AccessLog, LogEvents, LogTarget, Rotate, Syslog, SyslogAddress,
    at::{At, Place},
    raw::{self, Event, List},
    values::SYSLOG,
};

pub(super) fn access_logs(
    checker: &Checker<'_>,
    raw: &At<List<raw::AccessLog>>,
) -> Valid<Vec<AccessLog>> {
    let mut others: Vec<(LogTarget, usize)> = Vec::new();
    raw.each(|raw| {
        let (log, section) = (raw.get()?, raw.place());
        let to = target(checker, &section, log);
        let rotate = given(log.rotate.as_ref(), |raw| rotate(checker, raw));
        let events = events(checker, &log.events);
        let to = to?;
        if let Some(at) = log.rotate.as_ref().filter(|_| !can_rotate(&to)) {
            let what = format!("{to} cannot be rotated");
            return Err(checker.wrong(&at.place(), what, "rotate together with path"));
        }
        if let Some((_, line)) = others.iter().find(|(other, _)| *other == to) {
            let what = format!("goes to {to}, as the log at line {line} does");
            return Err(checker.wrong(&section, what, "a place of its own"));
        }
        others.push((to.clone(), section.position.line));
        Ok(AccessLog {
            to,
            rotate: rotate?,
            format: log.format.get()?.clone(),
            events: events?,
            when_full: *log.when_full.get()?,
        })
    })
}

/// One of three keys says where the lines go.
fn target(checker: &Checker<'_>, section: &Place, raw: &raw::AccessLog) -> Valid<LogTarget> {
    let path = given(raw.path.as_ref(), |path| checker.output_file(path));
    let stdout = given(raw.stdout.as_ref(), |at| match at.get()? {
        true => Ok(LogTarget::Stdout),
        false => Err(checker.wrong(&at.place(), "is false", "true; or path or syslog instead")),
    });
    let syslog = given(raw.syslog.as_ref(), |raw| syslog(checker, raw));
    let given = [
        ("path", raw.path.as_ref().map(At::place)),
        ("stdout", raw.stdout.as_ref().map(At::place)),
        ("syslog", raw.syslog.as_ref().map(At::place)),
    ];
    let mut given = given.iter().filter_map(|(key, place)| Some((key, place.as_ref()?)));
    if let (Some((first, _)), Some((_, second))) = (given.next(), given.next()) {
        let what = format!("cannot be combined with {first}");
        return Err(checker.wrong(second, what, "one of path, stdout, syslog"));
    }
    let target = match path? {
        Some(path) if path == Path::new("/dev/stdout") => Some(LogTarget::Stdout),
        path => path.map(LogTarget::File).or(stdout?).or(syslog?.map(LogTarget::Syslog)),
    };
    let allowed = "the path of a file; or stdout or syslog instead";
    target.ok_or_else(|| checker.missing(section, "path", allowed))
}

/// Devices are not files that could be renamed.
fn can_rotate(to: &LogTarget) -> bool {
    matches!(to, LogTarget::File(path) if !path.starts_with("/dev"))
}

fn rotate(checker: &Checker<'_>, raw: &At<raw::Rotate>) -> Valid<Rotate> {
    let (raw, section) = (raw.get()?, raw.place());
    let size = given(raw.size.as_ref(), |size| Ok(size.get()?.0))?;
    let age = given(raw.age.as_ref(), |age| Ok(age.get()?.0))?;
    if size.is_none() && age.is_none() {
        let allowed = "a size such as 100MiB; or age instead, or both";
        return Err(checker.missing(&section, "size", allowed));
    }
    Ok(Rotate { size, age, keep: raw.keep.get()?.0 })
}

fn events(checker: &Checker<'_>, raw: &At<List<Event>>) -> Valid<LogEvents> {
    let mut events = LogEvents::NONE;
    checker.some(raw, |at| {
        let event = match at.get()? {
            Event::Connect => &mut events.connect,
            Event::Disconnect => &mut events.disconnect,
            Event::Reject => &mut events.reject,
            Event::Probe => &mut events.probe,
            Event::Ban => &mut events.ban,
        };
        if std::mem::replace(event, true) {
            return Err(checker.fault(&at.place(), "is there twice; keep one"));
        }
        Ok(())
    })?;
    Ok(events)
}

fn syslog(checker: &Checker<'_>, raw: &At<raw::Syslog>) -> Valid<Syslog> {
    let (raw, section) = (raw.get()?, raw.place());
    let to = match checker.required(&section, "to", &raw.to, SYSLOG)? {
        SyslogAddress::Unix(path) => {
            checker.socket_path(&raw.to.place(), path).map(SyslogAddress::Unix)
        }
        address => Ok(address.clone()),
    };
    Ok(Syslog {
        to: to?,
        facility: *raw.facility.get()? as u8,
        severity: *raw.severity.get()? as u8,
        app_name: raw.app_name.get()?.0.clone(),
    })
}
