//! `mqtt-lb ctl`: a running proxy, asked and told by way of its admin API.

mod args;
mod client;
mod show;
mod table;
mod target;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

pub(super) use args::CtlArgs;

use self::{
    args::{Broker, Command, Route, Sessions, Weight},
    client::{CallError, Client, encoded},
};
use super::{BAD_CONFIG, FAILED};
use crate::escape::{self, plain_lines};

/// Why a command has failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
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
    let needs_token = !matches!(args.command, Command::Health);
    let target = match args.target.target(needs_token) {
        Ok(target) => target,
        Err(error) => return complain(&format!("{error:#}"), BAD_CONFIG),
    };
    let client = match Client::new(target) {
        Ok(client) => client,
        Err(error) => return complain(&error, FAILED),
    };
    let ctl = Ctl { client, json: args.json };
    match ctl.run(&args.command) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader, `head` perhaps, has seen enough.
        Err(Failure::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => complain(&error, FAILED),
    }
}

struct Ctl {
    client: Client,
    json: bool,
}

impl Ctl {
    fn run(&self, command: &Command) -> Result<(), Failure> {
        match command {
            Command::Status => self.print(&self.client.get("/api/v1/status")?, show::status),
            Command::Upstreams { pool } => self.upstreams(pool.as_deref()),
            Command::Drain(broker) => self.change(broker, &json!({ "state": "drain" })),
            Command::Ready(broker) => self.change(broker, &json!({ "state": "ready" })),
            Command::Down(broker) => self.change(broker, &json!({ "state": "down" })),
            Command::Weight { broker, weight: Weight(weight) } => {
                self.change(broker, &json!({ "weight": weight }))
            }
            Command::Sessions(sessions) => self.sessions(sessions),
            Command::Kick { id } => {
                let path = format!("/api/v1/sessions/{}", encoded(id));
                self.client.call(Method::DELETE, &path, None)?;
                Ok(())
            }
            Command::Reload => {
                let outcome = self.client.call(Method::POST, "/api/v1/reload", None)?;
                self.print(&outcome, show::reload)
            }
            Command::Route(route) => self.route(route),
            Command::Log => self.print(&self.client.get("/api/v1/log")?, show::log),
            Command::Health => self.health(),
        }
    }

    /// As JSON, or as `show` writes it.
    fn print(
        &self,
        answer: &Value,
        show: impl FnOnce(&Value, &mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        if self.json {
            writeln!(out, "{}", escape::json(answer).map_err(io::Error::from)?)?;
        } else {
            show(answer, &mut out)?;
        }
        Ok(out.flush()?)
    }

    fn upstreams(&self, pool: Option<&str>) -> Result<(), Failure> {
        let mut answer = self.client.get("/api/v1/upstreams")?;
        if let (Some(name), Some(pools)) = (pool, answer["pools"].as_array_mut()) {
            let names: Vec<_> = pools.iter().map(|pool| table::cell(&pool["name"])).collect();
            pools.retain(|pool| pool["name"] == name);
            if pools.is_empty() {
                let error = format!("no pool {name}; there are {}", names.join(", "));
                return Err(Failure::Other(error));
            }
        }
        self.print(&answer, show::upstreams)
    }

    fn change(&self, Broker { name, pool }: &Broker, body: &Value) -> Result<(), Failure> {
        let pool = match pool {
            Some(pool) => pool.clone(),
            None => self.pool_of(name)?,
        };
        let path = format!("/api/v1/pools/{}/upstreams/{}", encoded(&pool), encoded(name));
        let answer = self.client.call(Method::PATCH, &path, Some(body))?;
        self.print(&answer, |answer, out| show::change(&pool, answer, out))
    }

    /// The one pool that has a broker of that name.
    fn pool_of(&self, name: &str) -> Result<String, Failure> {
        let answer = self.client.get("/api/v1/upstreams")?;
        let pools = answer["pools"].as_array().into_iter().flatten();
        let has_it = |pool: &&Value| {
            let mut upstreams = pool["upstreams"].as_array().into_iter().flatten();
            upstreams.any(|upstream| upstream["name"] == name)
        };
        let found: Vec<_> = pools.filter(has_it).map(|pool| table::cell(&pool["name"])).collect();
        match &*found {
            [pool] => Ok(pool.clone()),
            [] => Err(Failure::Other(format!("no broker {name} in any pool; see `upstreams`"))),
            several => {
                let error = format!("several pools have a broker {name}: say --pool, one of ");
                Err(Failure::Other(error + &several.join(", ")))
            }
        }
    }

    fn sessions(&self, wanted: &Sessions) -> Result<(), Failure> {
        let Sessions { client_id, username, upstream, listener, pool, all } = wanted;
        let mut query = query(&[
            ("client_id", client_id.as_deref()),
            ("username", username.as_deref()),
            ("upstream", upstream.as_deref()),
            ("listener", listener.as_deref()),
            ("pool", pool.as_deref()),
            ("limit", all.then_some("1000")),
        ]);
        let filtered = query.len();
        let mut table = show::sessions();
        loop {
            let page = self.client.get(&format!("/api/v1/sessions?{query}"))?;
            let next = page["next"].as_str();
            let is_last = next.is_none() || !all;
            self.print(&page, |page, out| {
                table.write(out, show::session_rows(page))?;
                match next {
                    Some(_) if !all => writeln!(out, "and more: --all has them all"),
                    _ => Ok(()),
                }
            })?;
            if is_last {
                return Ok(());
            }
            query.truncate(filtered);
            query.extend(next.into_iter().flat_map(|next| ["&cursor=", next]));
        }
    }

    fn route(&self, route: &Route) -> Result<(), Failure> {
        let source = route.source.map(|source| source.to_string());
        let query = query(&[
            ("client_id", Some(&*route.client_id)),
            ("username", route.username.as_deref()),
            ("source", source.as_deref()),
            ("tls_cn", route.tls_cn.as_deref()),
            ("sni", route.sni.as_deref()),
            ("pool", route.pool.as_deref()),
        ]);
        self.print(&self.client.get(&format!("/api/v1/route?{query}"))?, show::route)
    }

    fn health(&self) -> Result<(), Failure> {
        let reply = self.client.send(Method::GET, "/readyz", None)?;
        let said = String::from_utf8_lossy(&reply.body).trim_end().to_owned();
        if reply.status != StatusCode::OK {
            return Err(Failure::Other(said));
        }
        self.print(&json!({ "ready": true }), |_, out| writeln!(out, "ready"))
    }
}

/// The parameters that are given.
fn query(parameters: &[(&str, Option<&str>)]) -> String {
    let given = parameters.iter().filter_map(|(name, value)| value.map(|value| (name, value)));
    let pairs: Vec<_> = given.map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    pairs.join("&")
}
