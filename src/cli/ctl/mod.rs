//! `mqtt-lb ctl`: the command line for a running proxy's admin API.

mod args;
mod client;
mod rules;
mod show;
mod table;
mod target;
mod upgrade;

use std::{
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
};

use hyper::{Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use serde_json::json;

pub(super) use args::CtlArgs;

use self::{
    args::{BanArgs, BrokerArgs, CtlCommand, RouteArgs, RuleArgs, SessionsArgs, UnbanArgs},
    client::{ApiClient, ApiResponse, CallError, RESPONSE_TIMEOUT, UPGRADE_TIMEOUT},
};
use super::exit_code::{BAD_CONFIG, FAILED};
use crate::{
    api::{self, Change, Pools, State},
    escape::{self, plain_lines},
    rules::Percent,
};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum CtlError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
    #[error("{0}")]
    Other(String),
}

pub(super) fn ctl(args: &CtlArgs) -> ExitCode {
    let complain = |error: &dyn std::fmt::Display, code| {
        eprintln!("mqtt-lb ctl: {}", plain_lines(&error.to_string()));
        ExitCode::from(code)
    };
    let needs_token = !matches!(args.command, CtlCommand::Health);
    let target = match args.target.target(needs_token) {
        Ok(target) => target,
        Err(error) => return complain(&format!("{error:#}"), BAD_CONFIG),
    };
    let timeout = match args.command {
        CtlCommand::Upgrade { .. } => UPGRADE_TIMEOUT,
        _ => RESPONSE_TIMEOUT,
    };
    let client = match ApiClient::new(target, timeout) {
        Ok(client) => client,
        Err(error) => return complain(&error, FAILED),
    };
    let ctl = Ctl { client, json: args.json };
    match ctl.run(&args.command) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader, such as `head`, has closed the pipe.
        Err(CtlError::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => complain(&error, FAILED),
    }
}

struct Ctl {
    client: ApiClient,
    json: bool,
}

impl Ctl {
    fn run(&self, command: &CtlCommand) -> Result<(), CtlError> {
        match command {
            CtlCommand::Status => self.print(&self.client.get("/api/v1/status")?, show::status),
            CtlCommand::Upstreams { pool } => self.upstreams(pool.as_deref()),
            CtlCommand::Drain(broker) => self.set_state(broker, State::Drain),
            CtlCommand::Ready(broker) => self.set_state(broker, State::Ready),
            CtlCommand::Down(broker) => self.set_state(broker, State::Down),
            CtlCommand::Weight { broker, weight } => {
                self.change(broker, Change { weight: Some(*weight), ..Change::default() })
            }
            CtlCommand::Sessions(sessions) => self.sessions(sessions),
            CtlCommand::Duplicates => {
                self.print(&self.client.get("/api/v1/duplicates")?, show::duplicates)
            }
            CtlCommand::Kick { id } => {
                let path = format!("/api/v1/sessions/{}", encoded(id));
                self.client.call::<()>(Method::DELETE, &path, None)?;
                Ok(())
            }
            CtlCommand::Ban(ban) => self.ban(ban),
            CtlCommand::Bans => self.bans(),
            CtlCommand::Unban(unban) => self.unban(unban),
            CtlCommand::Reload => {
                let outcome = self.client.call(Method::POST, "/api/v1/reload", None)?;
                self.print(&outcome, show::reload)
            }
            CtlCommand::Upgrade { binary } => {
                let path = format!("/api/v1/upgrade?{}", query(&[("binary", binary.as_deref())]));
                let outcome = self.client.call(Method::POST, &path, None)?;
                self.print(&outcome, upgrade::show)
            }
            CtlCommand::Config => {
                let config = self.client.get_yaml("/api/v1/config")?;
                self.print(&config, show::config)
            }
            CtlCommand::Route(route) => self.route(route),
            CtlCommand::Rules { listener } => self.rules(listener.as_deref()),
            CtlCommand::Rule(rule) => self.change_rule(rule),
            CtlCommand::Log => self.print(&self.client.get("/api/v1/log")?, show::log),
            CtlCommand::Health => self.health(),
        }
    }

    /// Prints the proxy's JSON, or the output of `show`.
    fn print<T>(
        &self,
        answer: &ApiResponse<T>,
        show: impl FnOnce(&T, &mut dyn Write) -> io::Result<()>,
    ) -> Result<(), CtlError> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        if self.json {
            writeln!(out, "{}", escape::json(&answer.json).map_err(io::Error::from)?)?;
        } else {
            show(&answer.content, &mut out)?;
        }
        Ok(out.flush()?)
    }

    fn upstreams(&self, pool: Option<&str>) -> Result<(), CtlError> {
        let mut answer = self.client.get::<Pools>("/api/v1/upstreams")?;
        if let Some(name) = pool {
            let pools = &mut answer.content.pools;
            let names: Vec<_> = pools.iter().map(|pool| pool.name.clone()).collect();
            pools.retain(|pool| *pool.name == *name);
            if pools.is_empty() {
                let error = format!("no pool {name}; the configuration has {}", names.join(", "));
                return Err(CtlError::Other(error));
            }
            answer.json = serde_json::to_value(&answer.content).map_err(io::Error::from)?;
        }
        self.print(&answer, show::upstreams)
    }

    fn set_state(&self, broker: &BrokerArgs, state: State) -> Result<(), CtlError> {
        self.change(broker, Change { state: Some(state), ..Change::default() })
    }

    fn change(
        &self,
        BrokerArgs { name, pool }: &BrokerArgs,
        change: Change,
    ) -> Result<(), CtlError> {
        let pool = match pool {
            Some(pool) => pool.as_str().into(),
            None => self.pool_of(name)?,
        };
        let path = format!("/api/v1/pools/{}/upstreams/{}", encoded(&pool), encoded(name));
        let body = serde_json::to_string(&change).map_err(io::Error::from)?;
        let answer = self.client.call(Method::PATCH, &path, Some(body))?;
        self.print(&answer, |upstream, out| show::change(&pool, upstream, out))
    }

    /// The one pool that has a broker of that name.
    fn pool_of(&self, name: &str) -> Result<Arc<str>, CtlError> {
        let Pools { pools } = self.client.get("/api/v1/upstreams")?.content;
        let mut found: Vec<_> = pools
            .into_iter()
            .filter(|pool| pool.upstreams.iter().any(|upstream| *upstream.name == *name))
            .map(|pool| pool.name)
            .collect();
        match found.len() {
            1 => Ok(found.swap_remove(0)),
            0 => Err(CtlError::Other(format!("no pool has a broker {name}; see `upstreams`"))),
            _ => Err(CtlError::Other(format!(
                "several pools have a broker {name}: add --pool, one of {}",
                found.join(", "),
            ))),
        }
    }

    fn sessions(&self, wanted: &SessionsArgs) -> Result<(), CtlError> {
        let SessionsArgs { client_id, username, sni, source, upstream, listener, pool, all } =
            wanted;
        let source = source.map(|source| source.to_string());
        let mut table = show::session_table();
        let mut cursor = None;
        loop {
            let query = query(&[
                ("client_id", client_id.as_deref()),
                ("username", username.as_deref()),
                ("sni", sni.as_deref()),
                ("source", source.as_deref()),
                ("upstream", upstream.as_deref()),
                ("listener", listener.as_deref()),
                ("pool", pool.as_deref()),
                ("limit", all.then_some("1000")),
                ("cursor", cursor.as_deref()),
            ]);
            let page: ApiResponse<api::Sessions> =
                self.client.get(&format!("/api/v1/sessions?{query}"))?;
            self.print(&page, |page, out| {
                table.write(out, show::session_rows(page))?;
                match page.next {
                    Some(_) if !all => writeln!(out, "there are more; --all lists them"),
                    _ => Ok(()),
                }
            })?;
            cursor = page.content.next;
            if cursor.is_none() || !all {
                return Ok(());
            }
        }
    }

    fn ban(&self, args: &BanArgs) -> Result<(), CtlError> {
        let Some((kind, value)) = args.target.kind_and_value() else { return Ok(()) };
        let ban = api::NewBan {
            kind: kind.into(),
            value: value.to_owned(),
            for_s: args.time,
            comment: args.reason.clone(),
        };
        let body = serde_json::to_string(&api::NewBans { bans: vec![ban] });
        let body = body.map_err(io::Error::from)?;
        let banned = self.client.call(Method::POST, "/api/v1/bans", Some(body))?;
        self.print(&banned, show::banned)
    }

    fn bans(&self) -> Result<(), CtlError> {
        let mut table = show::ban_table();
        let mut cursor = None;
        loop {
            let query = query(&[("limit", Some("1000")), ("cursor", cursor.as_deref())]);
            let page: ApiResponse<api::BanPage> =
                self.client.get(&format!("/api/v1/bans?{query}"))?;
            self.print(&page, |page, out| table.write(out, show::ban_rows(page)))?;
            cursor = page.content.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    fn unban(&self, args: &UnbanArgs) -> Result<(), CtlError> {
        let all = args.all.then_some(("all", "true"));
        let Some((name, value)) = args.target.kind_and_value().or(all) else { return Ok(()) };
        let path = format!("/api/v1/bans?{}", query(&[(name, Some(value))]));
        self.client.call::<()>(Method::DELETE, &path, None)?;
        Ok(())
    }

    fn route(&self, route: &RouteArgs) -> Result<(), CtlError> {
        let client = &route.client;
        let source = client.source.map(|source| source.to_string());
        let level = client.protocol_version.map(|level| level.to_string());
        let flag = |flag: Option<bool>| flag.map(|flag| if flag { "true" } else { "false" });
        let mut parameters = vec![
            ("client_id", Some(&*route.client_id)),
            ("username", client.username.as_deref()),
            ("source", source.as_deref()),
            ("tls_cn", client.tls_cn.as_deref()),
            ("sni", client.sni.as_deref()),
            ("path", client.path.as_deref()),
            ("protocol_version", level.as_deref()),
            ("clean_start", flag(client.clean_start)),
            ("has_password", flag(client.has_password)),
            ("will", flag(client.will)),
            ("listener", route.listener.as_deref()),
            ("pool", route.pool.as_deref()),
        ];
        parameters.extend(client.variables.iter().map(|(text, _)| ("var", Some(&**text))));
        let path = format!("/api/v1/route?{}", query(&parameters));
        self.print(&self.client.get(&path)?, show::route)
    }

    fn rules(&self, listener: Option<&str>) -> Result<(), CtlError> {
        let mut answer = self.client.get("/api/v1/rules")?;
        if let Some(name) = listener {
            rules::keep_listener(&mut answer.content, name).map_err(CtlError::Other)?;
            answer.json = serde_json::to_value(&answer.content).map_err(io::Error::from)?;
        }
        self.print(&answer, rules::show)
    }

    fn change_rule(&self, wanted: &RuleArgs) -> Result<(), CtlError> {
        let known: api::Rules = self.client.get("/api/v1/rules")?.content;
        let found = rules::find(&known, &wanted.name, wanted.listener.as_deref());
        let (listener, before) = found.map_err(CtlError::Other)?;
        let (listener_segment, name) = (encoded(&listener.listener), encoded(&wanted.name));
        let path = format!("/api/v1/listeners/{listener_segment}/rules/{name}");
        let change = api::RuleChange { percent: wanted.share.percent.map(Percent::as_f64) };
        let body = serde_json::to_string(&change).map_err(io::Error::from)?;
        let answer = self.client.call(Method::PATCH, &path, Some(body))?;
        self.print(&answer, |rule, out| rules::show_change(&listener.listener, before, rule, out))
    }

    fn health(&self) -> Result<(), CtlError> {
        let reply = self.client.send(Method::GET, "/readyz", None)?;
        let said = String::from_utf8_lossy(&reply.body).trim_end().to_owned();
        if reply.status != StatusCode::OK {
            return Err(CtlError::Other(said));
        }
        let ready = ApiResponse { json: json!({ "ready": true }), content: () };
        self.print(&ready, |(), out| writeln!(out, "ready"))
    }
}

/// The parameters that are given, as a query (`application/x-www-form-urlencoded`).
fn query(parameters: &[(&str, Option<&str>)]) -> String {
    let given = parameters.iter().filter_map(|(name, value)| value.map(|value| (name, value)));
    form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish()
}

/// A segment of a path, in which all but the unreserved characters are percent-encoded (RFC 3986,
/// section 2.3).
fn encoded(segment: &str) -> PercentEncode<'_> {
    const RESERVED: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(segment, RESERVED)
}
