//! Access logs: where they go, what is in them, when their files are put aside.

use std::time::Duration;

use mqtt_lb::testing::config::{
    AccessLog, LOG_FIELDS, LogEvents, LogLineFormat, LogTarget, Rotate, Syslog, SyslogAddress,
    WhenFull,
};

use crate::{SMALLEST, good, parse, tail};

/// The first log of a config, by its keys.
fn log(entry: &str) -> AccessLog {
    good(&format!("{SMALLEST}access_log: [{{ {entry} }}]\n")).access_log[0].clone()
}

/// What is said of a log by its keys, which begin at column 18 of line 10.
fn said(entry: &str) -> Vec<String> {
    tail(&format!("access_log: [{{ {entry} }}]\n"))
}

#[test]
fn a_log_has_one_target() {
    let least = log("path: /dev/x");
    assert_eq!(
        least,
        AccessLog {
            to: LogTarget::File("/dev/x".into()),
            rotate: None,
            format: LogLineFormat::Json,
            events: LogEvents::DEFAULT,
            when_full: WhenFull::Block,
        }
    );
    assert_eq!(log("stdout: true").to, LogTarget::Stdout);
    assert_eq!(log("path: /dev/stdout").to, LogTarget::Stdout);
    assert_eq!(
        log("syslog: { to: \"unix:/dev/log\" }").to,
        LogTarget::Syslog(Syslog {
            to: SyslogAddress::Unix("/dev/log".into()),
            facility: 16,
            severity: 6,
            app_name: "mqtt-lb".into(),
        })
    );
    let allowed = "allowed: one of path, stdout, syslog";
    for (entry, wrong) in [
        (
            "format: json",
            "10:14: access_log[0].path: is required; allowed: the path of a file; or stdout or syslog \
             instead"
                .to_owned(),
        ),
        (
            "stdout: false",
            "10:24: access_log[0].stdout: is false; allowed: true; or path or syslog \
             instead"
                .to_owned(),
        ),
        (
            "stdout: true, path: /dev/x",
            format!("10:24: access_log[0].stdout: cannot be combined with path; {allowed}"),
        ),
        (
            "syslog: { to: \"unix:/dev/log\" }, path: /dev/x",
            format!("10:24: access_log[0].syslog: cannot be combined with path; {allowed}"),
        ),
        (
            "syslog: { to: \"unix:/dev/log\" }, stdout: true",
            format!("10:24: access_log[0].syslog: cannot be combined with stdout; {allowed}"),
        ),
    ] {
        assert_eq!(said(entry), [wrong], "{entry}");
    }
}

#[test]
fn two_logs_do_not_go_to_one_target() {
    let several = "path: /dev/x }, { path: /dev/y }, { stdout: true }, { syslog: { to: \"udp://[::1]:514\" } }, \
                   { syslog: { to: \"udp://[::1]:514\", facility: auth }, events: [reject]";
    assert_eq!(good(&format!("{SMALLEST}access_log: [{{ {several} }}]\n")).access_log.len(), 5);
    let allowed = "allowed: a place of its own";
    assert_eq!(
        tail(
            "access_log:\n\
             - path: /dev/x\n\
             - path: /dev/./x\n\
             - stdout: true\n\
             - { path: /dev/stdout, format: text }\n\
             - syslog: { to: \"tcp://log:601\" }\n\
             - syslog: { to: \"tcp://log:601\", facility: local0 }\n"
        ),
        [
            format!("12:3: access_log[1]: goes to /dev/./x, as the log at line 11 does; {allowed}"),
            format!(
                "14:3: access_log[3]: goes to /dev/stdout, as the log at line 13 does; {allowed}"
            ),
            format!(
                "16:3: access_log[5]: goes to tcp://log:601, as the log at line 15 does; {allowed}"
            ),
        ]
    );
}

#[test]
fn syslog_receivers() {
    let to = |keys: &str| match log(&format!("syslog: {{ {keys} }}")).to {
        LogTarget::Syslog(syslog) => syslog,
        other => panic!("{other:?}"),
    };
    let syslog =
        to("to: \"udp://10.0.0.1:514\", facility: authpriv, severity: debug, app_name: lb-2");
    assert_eq!(syslog.to, SyslogAddress::Udp("10.0.0.1:514".into()));
    assert_eq!((syslog.facility, syslog.severity, &*syslog.app_name), (10, 7, "lb-2"));
    for (address, host) in [
        ("tcp://[::1]:601", "[::1]:601"),
        ("tcp://logs.internal:601", "logs.internal:601"),
        ("tcp://${HOST}:601", "10.9.8.7:601"),
    ] {
        assert_eq!(
            to(&format!("to: \"{address}\"")).to,
            SyslogAddress::Tcp(host.into()),
            "{address}"
        );
    }
    let allowed = "allowed: unix:/PATH, udp://HOST:PORT or tcp://HOST:PORT";
    for (address, wrong) in [
        ("10.0.0.1:514", format!("\"10.0.0.1:514\" is not the address of a receiver; {allowed}")),
        ("http://log:514", format!("\"http://log:514\" is not the address of a receiver; {allowed}")),
        ("udp://unix:/x", format!("\"udp://unix:/x\" is not the address of a receiver; {allowed}")),
        ("udp://log", format!("\"log\" has no valid port; {allowed}")),
        ("udp://-:514", format!("\"-:514\" is not an address; {allowed}")),
        ("udp://log:0", "\"udp://log:0\" has port 0; allowed: a port from 1 to 65535".to_owned()),
        (
            "udp://[::1]:0",
            "\"udp://[::1]:0\" has port 0; allowed: a port from 1 to 65535".to_owned(),
        ),
        (
            "unix:",
            "\"\" is not the path of a socket; allowed: a path of 1 to 107 bytes, its folder included"
                .to_owned(),
        ),
    ] {
        let wrong = format!("10:30: access_log[0].syslog.to: {wrong}");
        assert_eq!(said(&format!("syslog: {{ to: \"{address}\" }}")), [wrong], "{address}");
    }
    let facilities = "kern, user, mail, daemon, auth, syslog, lpr, news, uucp, cron, authpriv, ftp, \
                      local0, local1, local2, local3, local4, local5, local6, local7";
    let severities = "emerg, alert, crit, err, warning, notice, info, debug";
    let printable = "1 to 48 printable characters of ASCII, without spaces";
    assert_eq!(
        said("syslog: { facility: local8, severity: error, app_name: \"mqtt lb\", port: 5 }"),
        [
            "10:24: access_log[0].syslog.to: is required; allowed: unix:/PATH, udp://HOST:PORT or \
             tcp://HOST:PORT"
                .to_owned(),
            format!("10:36: access_log[0].syslog.facility: \"local8\" is unknown; allowed: {facilities}"),
            format!("10:54: access_log[0].syslog.severity: \"error\" is unknown; allowed: {severities}"),
            format!(
                "10:71: access_log[0].syslog.app_name: \"mqtt lb\" is not the name of an application; \
                 allowed: {printable}"
            ),
            "10:82: access_log[0].syslog.port: is an unknown key; allowed: to, facility, severity, \
             app_name"
                .to_owned(),
        ]
    );
    let long = "x".repeat(49);
    let said = said(&format!("syslog: {{ to: \"unix:/dev/log\", app_name: {long} }}"));
    assert!(said.len() == 1 && said[0].ends_with(&format!("allowed: {printable}")), "{said:?}");
}

#[test]
fn files_are_put_aside() {
    let rotate = |keys: &str| log(&format!("path: /tmp/x, rotate: {{ {keys} }}")).rotate.unwrap();
    assert_eq!(rotate("size: 100MiB"), Rotate { size: Some(100 << 20), age: None, keep: 7 });
    let age = Some(Duration::from_hours(24));
    assert_eq!(rotate("age: 24h, keep: 1"), Rotate { size: None, age, keep: 1 });
    assert_eq!(rotate("size: 1KiB, age: 24h").age, age);
    for (entry, wrong) in [
        (
            "path: /tmp/x, rotate: { keep: 3 }",
            "10:38: access_log[0].rotate.size: is required; allowed: a size such as 100MiB; or age \
             instead, or both",
        ),
        (
            "path: /tmp/x, rotate: { size: 1000 }",
            "10:46: access_log[0].rotate.size: 1000 bytes is out of range; allowed: 1024 bytes to \
             1099511627776 bytes",
        ),
        (
            "path: /tmp/x, rotate: { age: 500ms }",
            "10:45: access_log[0].rotate.age: 500ms is out of range; allowed: 1s to 8760h",
        ),
        (
            "path: /tmp/x, rotate: { age: 1h, keep: 0 }",
            "10:55: access_log[0].rotate.keep: \"0\" is out of range; allowed: a whole number from 1 to \
             1000",
        ),
        (
            "stdout: true, rotate: { age: 1h }",
            "10:38: access_log[0].rotate: /dev/stdout cannot be rotated; allowed: rotate together \
             with path",
        ),
        (
            "path: /dev/stderr, rotate: { age: 1h }",
            "10:43: access_log[0].rotate: /dev/stderr cannot be rotated; allowed: rotate together \
             with path",
        ),
        (
            "syslog: { to: \"udp://h:514\" }, rotate: { age: 1h }",
            "10:55: access_log[0].rotate: udp://h:514 cannot be rotated; allowed: rotate together \
             with path",
        ),
    ] {
        assert_eq!(said(entry), [wrong], "{entry}");
    }
}

#[test]
fn a_log_has_the_events_that_it_names() {
    let events = |list: &str| log(&format!("path: /dev/x, events: {list}")).events;
    let none = LogEvents::NONE;
    assert_eq!(events("[reject]"), LogEvents { reject: true, ..none });
    assert_eq!(events("[probe]"), LogEvents { probe: true, ..none });
    assert_eq!(events("[ban]"), LogEvents { ban: true, ..none });
    assert_eq!(log("path: /dev/x").events, events("[connect, disconnect, reject, ban]"));
    assert_eq!(
        events("[disconnect, connect]"),
        LogEvents { connect: true, disconnect: true, ..none }
    );
    for (list, wrong) in [
        ("[]", "10:38: access_log[0].events: is an empty list; allowed: one entry or more"),
        ("connect", "10:38: access_log[0].events: is a single value; allowed: a list"),
        (
            "[end]",
            "10:39: access_log[0].events[0]: \"end\" is unknown; allowed: connect, disconnect, reject, \
             probe, ban",
        ),
        ("[reject, reject]", "10:47: access_log[0].events[1]: is there twice; keep one"),
    ] {
        assert_eq!(said(&format!("path: /dev/x, events: {list}")), [wrong], "{list}");
    }
}

#[test]
fn access_log_formats_name_fields_that_exist() {
    let log = |entry: &str| {
        parse(&format!("{SMALLEST}access_log: [{{ {entry} }}]\n")).map(|c| c.access_log[0].clone())
    };
    let AccessLog { to, format, when_full, .. } =
        log("path: /dev/x, format: \"${time} ${client_id}\", when_full: drop").unwrap();
    assert_eq!(to, LogTarget::File("/dev/x".into()));
    assert_eq!(format, LogLineFormat::Template("${time} ${client_id}".into()));
    assert_eq!(when_full, WhenFull::Drop);
    assert_eq!(log("path: /dev/x, format: text").unwrap().format, LogLineFormat::Text);
    let fields = LOG_FIELDS.join(", ");
    let allowed = "allowed: json, text, or one line with ${field} variables";
    let path_allowed = "allowed: the path of a file, or /dev/stdout";
    for (entry, wrong) in [
        (
            "path: /dev/x, format: \"${password}\"",
            format!("38: access_log[0].format: \"password\" is not a field; allowed: {fields}"),
        ),
        (
            "path: /dev/x, format: \"${time\"",
            format!("38: access_log[0].format: \"${{time\" has ${{ without }}; allowed: {fields}"),
        ),
        (
            "path: /dev/x, format: \"${time}\\n\"",
            format!("38: access_log[0].format: \"${{time}}\\n\" is not a format; {allowed}"),
        ),
        ("path: \"-\"", format!("22: access_log[0].path: \"-\" is not a file; {path_allowed}")),
        ("path: /dev", format!("22: access_log[0].path: \"/dev\" is not a file; {path_allowed}")),
        (
            "path: \"/dev/a\\0b\"",
            "22: access_log[0].path: \"/dev/a\\0b\" has a control character; allowed: the path of a file".to_owned(),
        ),
        (
            "path: /dev/x, when_full: wait",
            "41: access_log[0].when_full: \"wait\" is unknown; allowed: block, drop".into(),
        ),
    ] {
        assert_eq!(log(entry).expect_err(entry).to_string(), format!("/etc/t.yaml:10:{wrong}"));
    }
    let every = LOG_FIELDS.iter().fold(String::new(), |all, field| format!("{all}${{{field}}}"));
    log(&format!("path: /dev/x, format: \"{every}\"")).unwrap();
}
