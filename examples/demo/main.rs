//! A tour of the proxy on one machine, with nothing to install: three brokers, the proxy in front
//! of them, and a dozen clients of all three protocol versions.
//!
//! `cargo run --release --example demo` goes on running, for commands to be tried against it.
//! With `-- --tls` the clients come by TLS, with `-- --ws` over WebSocket. With `-- --once` it ends
//! after the table, and fails if anything was not as promised.

mod brokers;
mod clients;
mod log;
mod mqtt31;
mod paint;
mod proxy;
mod table;
mod tls;
mod version_splitter;
mod websocket;

use std::{
    io::{IsTerminal, stderr},
    net::SocketAddr,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use clap::Parser;
use mqtt_lb::testing::{escape::plain, program_log::PlainFields};
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
    time::timeout,
};
use tracing_subscriber::EnvFilter;

use brokers::Brokers;
use clients::{CLIENTS, Session};
use log::Log;
use paint::Paint;
use proxy::Proxy;
use table::{Row, Table};

/// How long any step may take: each is a few milliseconds, unless the machine is very busy.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);

/// Three MQTT brokers, mqtt-lb in front of them, and a dozen clients.
#[derive(Parser)]
#[command(name = "demo")]
struct Args {
    /// End after the table; exit code 1 if a client or a session was not where it belongs.
    #[arg(long)]
    once: bool,
    /// Have the clients come by TLS.
    #[arg(long, conflicts_with = "ws")]
    tls: bool,
    /// Have the clients come over WebSocket.
    #[arg(long)]
    ws: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    // Warnings of the proxy are of interest; what the brokers and clients say of themselves is not.
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("off,mqtt_lb=warn"))
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .with_target(false)
        .fmt_fields(PlainFields)
        .init();
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    match runtime.context("no runtime").and_then(|runtime| runtime.block_on(tour(&args))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {}", plain(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

/// How the clients come.
struct Way {
    address: SocketAddr,
    /// What the access log calls it.
    transport: &'static str,
}

/// Returns whether everything was as promised.
async fn tour(args: &Args) -> anyhow::Result<bool> {
    let paint = Paint::for_stdout();
    let folder = tempfile::Builder::new()
        .prefix("mqtt-lb-demo-")
        .tempdir()
        .context("no folder for the configuration")?;

    let brokers =
        timeout(STEP_TIMEOUT, Brokers::start()).await.context("the brokers do not start")??;
    println!("{}", paint.bold("Three brokers (rumqttd: MQTT 3.1.1 and 5.0)"));
    for broker in brokers.iter() {
        println!("  {}  {}", broker.name, broker.address);
    }
    println!("  {}", paint.dim("rumqttd has no MQTT 3.1: the demo passes it on as 3.1.1."));

    let authority = tls::Authority::make(folder.path()).context("no certificates")?;
    let proxy = timeout(STEP_TIMEOUT, Proxy::start(folder.path(), &brokers))
        .await
        .context("the proxy does not start")??;
    println!("\n{}", paint.bold("The proxy in front of them"));
    println!("  MQTT   {}", proxy.mqtt);
    println!("  mqtts  {}", proxy.mqtts);
    println!("  ws     ws://{}/mqtt", proxy.ws);
    println!("  admin  http://{}", proxy.admin);
    let way = if args.tls {
        Way { address: authority.wrap(proxy.mqtts).await?, transport: "tls" }
    } else if args.ws {
        Way { address: websocket::wrap(proxy.ws).await?, transport: "ws" }
    } else {
        Way { address: proxy.mqtt, transport: "tcp" }
    };

    println!("\n{}", paint.bold("A dozen clients, as the access log has them"));
    let mut log = Log::follow(proxy.access_log(), paint);
    let mut guests = Vec::new();
    let mut rows = Vec::new();
    for client in CLIENTS {
        let session = timeout(STEP_TIMEOUT, client.connect(client.id, way.address))
            .await
            .with_context(|| format!("no CONNACK for {}", client.shown_id()))?
            .with_context(|| format!("{} cannot connect", client.shown_id()))?;
        let id = session.assigned_id.clone().unwrap_or_else(|| client.id.to_owned());
        let (session, entry) = come_back_if_it_should(client, &id, session, &way, &mut log).await?;
        rows.push(Row::new(client, id, &session, entry, &way, &proxy, &brokers));
        guests.push(session);
    }

    let table = Table { rows };
    println!("\n{}", paint.bold("Who is where"));
    let as_promised = table.print(paint);
    if args.once {
        // The table is the end of it: that everyone leaves now is no news.
        drop(log);
        leave(guests).await;
        proxy.stop().await?;
        return Ok(as_promised);
    }

    proxy.print_what_to_try(paint);
    told_to_end().await?;
    println!();
    leave(guests).await;
    // The proxy got the same signal.
    proxy.wait().await?;
    Ok(as_promised)
}

/// A client that keeps a session leaves once, and connects again to find it: by its own ID, or by
/// the one that it was assigned. Returns the session
/// that is open in the end, and what the access log says of it.
async fn come_back_if_it_should(
    client: &clients::Client,
    id: &str,
    session: Session,
    way: &Way,
    log: &mut Log,
) -> anyhow::Result<(Session, log::Entry)> {
    let first = log.next("connect", client.id, STEP_TIMEOUT).await?;
    if !client.comes_back {
        return Ok((session, first));
    }
    session.leave().await;
    // From here on the broker, too, has seen it go.
    log.next("disconnect", client.id, STEP_TIMEOUT).await?;
    let again = timeout(STEP_TIMEOUT, client.connect(id, way.address))
        .await
        .context("no CONNACK")?
        .with_context(|| format!("{id} cannot connect again"))?;
    Ok((again, log.next("connect", id, STEP_TIMEOUT).await?))
}

async fn leave(guests: Vec<Session>) {
    for guest in guests {
        guest.leave().await;
    }
}

async fn told_to_end() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
