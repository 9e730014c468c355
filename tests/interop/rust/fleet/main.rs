//! `fleet COUNT WAY=ADDRESS... [--ca FILE] [--identity FILE] [--pause-ms N] [--reconnect]`: so many
//! clients with sessions that last, each with messages to itself, while the proxy between them and
//! their brokers is upgraded. With `--reconnect` they connect again when their session has ended.
//!
//! It prints `ready` once all have subscribed. At a line `gap` on standard input it prints the
//! longest round trips since the last such line, at a line `state` what has happened so far, at a
//! line `round` the same after it has begun to count again which clients are served; at a line `end`
//! every client waits for its last message and leaves, and the outcome is printed. All output is
//! lines of JSON, except `ready`.

mod device;
mod link;
mod packets;
mod report;

use std::{
    cell::RefCell,
    env,
    error::Error,
    io::{BufRead, stdin},
    rc::Rc,
    thread,
};

use tokio::{
    sync::{mpsc, watch},
    task::{JoinSet, LocalSet},
};

use device::{Device, Habit};
use link::Ways;
use report::Report;

/// How many clients connect at the same time.
const CONNECTING: usize = 64;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let count = arguments.next().ok_or("usage: fleet COUNT WAY=ADDRESS...")?.parse()?;
    let ways = Rc::new(Ways::from_arguments(arguments)?);
    LocalSet::new().run_until(run(count, ways)).await
}

async fn run(count: usize, ways: Rc<Ways>) -> Result<(), Box<dyn Error>> {
    let report = Rc::new(RefCell::new(Report::default()));
    let (end, ended) = watch::channel(false);
    let mut sessions = JoinSet::new();
    let mut connecting = JoinSet::new();
    for number in 0..count {
        if connecting.len() == CONNECTING {
            sessions.spawn_local(session(&mut connecting, &ways, &ended).await?);
        }
        let (ways, report) = (ways.clone(), report.clone());
        connecting.spawn_local(async move {
            Device::connect(number, Habit::of(number), &ways, report).await
        });
    }
    while !connecting.is_empty() {
        sessions.spawn_local(session(&mut connecting, &ways, &ended).await?);
    }
    println!("ready");
    let mut lines = lines();
    while let Some(line) = lines.recv().await {
        match line.as_str() {
            "gap" => println!("{}", report.borrow_mut().gaps()),
            "state" => println!("{}", report.borrow().outcome(count)),
            "round" => {
                report.borrow_mut().begin_round();
                println!("{}", report.borrow().outcome(count));
            }
            _ => break,
        }
    }
    end.send(true)?;
    while let Some(ended) = sessions.join_next().await {
        ended?;
    }
    println!("{}", report.borrow().outcome(count));
    Ok(())
}

/// The session of the next client that has connected.
async fn session(
    connecting: &mut JoinSet<Result<Device, String>>,
    ways: &Rc<Ways>,
    ended: &watch::Receiver<bool>,
) -> Result<impl Future<Output = ()> + use<>, Box<dyn Error>> {
    let device = connecting.join_next().await.ok_or("no client connects")???;
    Ok(device.run(ways.clone(), ended.clone()))
}

/// The lines of standard input, read by a thread, as they block.
fn lines() -> mpsc::UnboundedReceiver<String> {
    let (sender, receiver) = mpsc::unbounded_channel();
    thread::spawn(move || {
        for line in stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
