//! `mqtt-lb route`: the brokers of a client ID, without a running proxy.

use std::{
    collections::BTreeMap,
    fmt::Display,
    io::{self, IsTerminal, Write},
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::Args;
use serde::Serialize;
use tokio::runtime;

use super::{
    check,
    client_ids::ClientIds,
    config_file::ConfigFile,
    exit_code::{BAD_CONFIG, FAILED},
    route_facts::{GivenFacts, variable},
};
use crate::{
    balance::{Choice, Router},
    config::{Config, Discover, Dns, Pool, Upstream},
    escape::{self, plain},
    template::{ClientFields, Variable},
    upstream,
};

#[derive(Args, Debug)]
pub(super) struct RouteArgs {
    #[command(flatten)]
    file: ConfigFile,
    /// The pool; required if the configuration has several.
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    /// The clients' username, if the key has it.
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// The clients' IP address, if the key has it.
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    source: IpAddr,
    /// The common name of the clients' certificate, if the key has it.
    #[arg(long, value_name = "NAME")]
    tls_cn: Option<String>,
    /// The server name that the clients send in TLS, if the key has it.
    #[arg(long, value_name = "HOST")]
    sni: Option<String>,
    /// A value for another variable of the key, such as `jwt.tenant=acme`; repeatable.
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = variable)]
    variables: Vec<(Variable, String)>,
    /// Another configuration: print how many of the IDs would move, and between which brokers.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Print JSON: an object per client ID; with --against one for all.
    #[arg(long)]
    json: bool,
    /// Client IDs, as the brokers are sent them; `-` reads them from standard input, one per line.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

pub(super) fn route(args: &RouteArgs) -> ExitCode {
    let here = match PoolRouter::load(&args.file.config, args) {
        Ok(router) => router,
        Err(code) => return code,
    };
    let printed = match &args.against {
        None => here.print(args),
        Some(file) => match PoolRouter::load(file, args) {
            Ok(there) => here.compare(there, args),
            Err(code) => return code,
        },
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

/// Prints an error on one line.
fn report(error: &dyn Display) {
    eprintln!("mqtt-lb route: {}", plain(&error.to_string()));
}

/// A pool and its router, with all brokers considered up and empty.
struct PoolRouter {
    pool: Pool,
    router: Router,
    facts: GivenFacts,
}

/// A client ID's brokers, in the order they would be tried.
#[derive(Serialize)]
struct RouteLine<'a> {
    client_id: &'a str,
    pool: &'a str,
    /// Absent if the choice does not depend on a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    brokers: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
}

#[derive(Serialize)]
struct Comparison {
    ids: u64,
    moved: u64,
    /// The number of IDs, by old and then by new broker.
    moves: BTreeMap<String, BTreeMap<String, u64>>,
}

impl PoolRouter {
    fn load(file: &Path, args: &RouteArgs) -> Result<Self, ExitCode> {
        let config = check::load(file)?;
        let fail = |error: &dyn Display, code| {
            report(&format_args!("{}: {error}", file.display()));
            ExitCode::from(code)
        };
        let dns = config.dns.clone();
        let mut pool = find_pool(config, args.pool.as_deref())
            .map_err(|message| fail(&message, BAD_CONFIG))?;
        if let Some(from) = &pool.discover {
            pool.upstreams = discover(&pool, from, &dns).map_err(|error| {
                fail(&format!("cannot discover the brokers of {}: {error:#}", from.dns), FAILED)
            })?;
        }
        let facts = GivenFacts::new(&args.variables);
        if let Some(variable) = facts.missing(pool.balance.key.variables()) {
            let error = format!(
                "balance.key of pool {} needs {variable}: add --var {variable}=VALUE",
                pool.name
            );
            return Err(fail(&error, BAD_CONFIG));
        }
        let router = upstream::router(pool.balance.algorithm, &pool.upstreams);
        Ok(Self { pool, router, facts })
    }

    /// The first `limit` brokers for `id`; `Err`: why the choice does not depend on a key.
    fn order(
        &mut self,
        id: &str,
        args: &RouteArgs,
        limit: usize,
    ) -> Result<Vec<usize>, &'static str> {
        let balance = &self.pool.balance;
        if !balance.algorithm.is_keyed() {
            return Err("the pool's algorithm does not use a key");
        }
        let client = self.facts.fields(ClientFields {
            client_id: id,
            username: args.username.as_deref(),
            source_ip: Some(args.source),
            tls_cn: args.tls_cn.as_deref(),
            sni: args.sni.as_deref(),
            ..ClientFields::default()
        });
        let mut scratch = Vec::new();
        match balance.key.choose(balance.empty_client_id, &client, &mut scratch) {
            Choice::Key(key) | Choice::FallbackKey(key) => {
                let mut order = Vec::new();
                while order.len() < limit {
                    let untried = |broker| (!order.contains(&broker)).then_some(0);
                    let Some(next) = self.router.pick(key, &untried) else { break };
                    order.push(next);
                }
                Ok(order)
            }
            Choice::LeastConnections => Err("no key: least connections"),
            Choice::Assign => Err("no key: an ID is assigned"),
            Choice::Reject => Err("no key: refused"),
        }
    }

    /// Returns the number of lines skipped.
    fn print(mut self, args: &RouteArgs) -> io::Result<u64> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        let tries = self.pool.upstreams.len();
        let table = !args.json && io::stdout().is_terminal();
        let width = args.ids.iter().map(|id| plain(id).chars().count()).max().unwrap_or(0);
        let mut ids = ClientIds::of(&args.ids);
        while let Some(id) = ids.next_id()? {
            let order = self.order(&id, args, tries);
            let names = |order: &[usize]| -> Vec<&str> {
                order.iter().map(|&broker| &*self.pool.upstreams[broker].name).collect()
            };
            let routed = RouteLine {
                client_id: &id,
                pool: &self.pool.name,
                brokers: order.as_deref().ok().map(names),
                why: order.as_deref().err().copied(),
            };
            if args.json {
                writeln!(out, "{}", escape::json(&routed)?)?;
                continue;
            }
            let brokers = match (&routed.brokers, routed.why) {
                (Some(brokers), _) => brokers.join(" "),
                (None, why) => format!("({})", why.unwrap_or_default()),
            };
            let (id, brokers) = (plain(&id), plain(&brokers));
            if table {
                writeln!(out, "{id:width$}  {brokers}")?;
            } else {
                writeln!(out, "{id}\t{brokers}")?;
            }
        }
        out.flush()?;
        Ok(ids.skipped())
    }

    /// Returns the number of lines skipped.
    fn compare(mut self, mut other: Self, args: &RouteArgs) -> io::Result<u64> {
        let mut moved = Comparison { ids: 0, moved: 0, moves: BTreeMap::new() };
        let mut ids = ClientIds::of(&args.ids);
        while let Some(id) = ids.next_id()? {
            moved.ids += 1;
            let (from, to) = (self.first_broker(&id, args), other.first_broker(&id, args));
            if from != to {
                moved.moved += 1;
                *moved.moves.entry(from).or_default().entry(to).or_default() += 1;
            }
        }
        let mut out = io::stdout().lock();
        if args.json {
            writeln!(out, "{}", escape::json(&moved)?)?;
            return Ok(ids.skipped());
        }
        let percent = 100.0 * moved.moved as f64 / moved.ids.max(1) as f64;
        writeln!(out, "{} of {} client IDs move ({percent:.2} %)", moved.moved, moved.ids)?;
        for (from, targets) in &moved.moves {
            for (to, count) in targets {
                writeln!(out, "{} -> {}: {count}", plain(from), plain(to))?;
            }
        }
        Ok(ids.skipped())
    }

    fn first_broker(&mut self, id: &str, args: &RouteArgs) -> String {
        match self.order(id, args, 1) {
            Ok(order) => match order.first() {
                Some(&broker) => self.pool.upstreams[broker].name.to_string(),
                None => "(none)".to_owned(),
            },
            Err(_) => "(no key)".to_owned(),
        }
    }
}

/// Looks up a pool's brokers in DNS, as the proxy does when it starts.
fn discover(pool: &Pool, from: &Discover, dns: &Dns) -> anyhow::Result<Vec<Upstream>> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let resolver = Arc::new(upstream::Resolver::new(dns));
    let answer = runtime.block_on(upstream::discover(from, &resolver, &[]))?;
    let upstreams = answer.upstreams(pool)?;
    for note in answer.notes {
        report(&format_args!("{}: {note}", from.dns));
    }
    Ok(upstreams)
}

fn find_pool(mut config: Config, name: Option<&str>) -> Result<Pool, String> {
    let names: Vec<_> = config.pools.iter().map(|pool| pool.name.to_string()).collect();
    let at = match name {
        Some(name) => names.iter().position(|known| known == name),
        None if names.len() == 1 => Some(0),
        None => {
            return Err(format!(
                "the configuration has several pools: add --pool, one of {}",
                names.join(", ")
            ));
        }
    };
    match at {
        Some(at) => Ok(config.pools.swap_remove(at)),
        None => Err(format!("no such pool; the configuration has {}", names.join(", "))),
    }
}
