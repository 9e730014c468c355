//! One cell's world: a proxy, its brokers, its clients, and the file that it goes by.

use std::{fs, net::SocketAddr, path::Path, process::Command, time::Duration};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    Outcome,
    api::{Api, Samples},
    device::{Device, WITHIN, until_right},
    file::{File, LISTENER},
    harness::Proxy,
    stub::Stub,
};

pub(crate) struct Fixture {
    pub(crate) proxy: Proxy,
    pub(crate) api: Api,
    /// What the proxy goes by, or is to go by next.
    pub(crate) file: File,
    pub(crate) brokers: Brokers,
    /// Clients with a session.
    pub(crate) held: Vec<Device>,
    /// Clients that have sent their CONNECT and heard nothing.
    pub(crate) pending: Vec<Device>,
    /// Connections made to the listener `mqtt` so far.
    pub(crate) opened: usize,
    /// What the operator has set, to be set at a fresh proxy as well.
    pub(crate) operator: Vec<(&'static str, &'static str)>,
    listener: SocketAddr,
    generation: u64,
    /// Whether the proxy's process is stopped; it goes on once it has been told something.
    is_stopped: bool,
}

pub(crate) struct Brokers {
    pub(crate) b1: Stub,
    pub(crate) b2: Stub,
    /// Where `b1` moves.
    pub(crate) moved: Stub,
    /// The one of the pool `other`.
    pub(crate) other: Stub,
}

impl Brokers {
    pub(crate) fn start() -> Self {
        let [b1, b2, moved, other] = std::array::from_fn(|_| Stub::start());
        Self { b1, b2, moved, other }
    }

    pub(crate) fn heal(&self) {
        for broker in [&self.b1, &self.b2, &self.moved, &self.other] {
            broker.heal();
        }
    }
}

impl Fixture {
    pub(crate) fn start(
        dir: TempDir,
        file: File,
        brokers: Brokers,
        command: impl FnOnce(&str) -> Command,
    ) -> Outcome<Self> {
        let proxy = Proxy::start_in(dir, &file.text(), command);
        let api = Api(proxy.admin());
        let listener = api.listener(LISTENER)?;
        let (held, pending, operator) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self {
            proxy,
            api,
            file,
            brokers,
            held,
            pending,
            opened: 0,
            operator,
            listener,
            generation: 1,
            is_stopped: false,
        })
    }

    /// Has the proxy go by what `file` has become, and waits until it does.
    pub(crate) fn reload(&mut self) -> Outcome {
        write(&self.proxy.path("config.yaml"), &self.file.text())?;
        self.tell(Signal::HUP);
        self.wait_applied()?;
        if self.file.listens {
            self.listener = self.api.listener(LISTENER)?;
        }
        Ok(())
    }

    /// Has another process take over, and waits until it accepts.
    pub(crate) fn upgrade(&mut self) -> Outcome {
        if self.is_stopped {
            self.tell(Signal::CONT);
        }
        let pid = self.api.upgrade()?;
        self.proxy.follow(pid);
        Ok(())
    }

    /// Waits until the processes before upgrades have ended.
    pub(crate) fn wait_earlier_exits(&self) -> Outcome {
        until_right(WITHIN, || match self.proxy.earlier_exits() {
            Some(exits) => match exits.into_iter().find(|exit| !exit.success()) {
                Some(exit) => Err(format!("the process before the upgrade ended with {exit}")),
                None => Ok(()),
            },
            None => Err(format!("the process before still runs; stayed: {}", self.api.stayed()?)),
        })
    }

    /// Waits until the proxy goes by one configuration more than before.
    pub(crate) fn wait_applied(&mut self) -> Outcome {
        self.generation += 1;
        until_right(WITHIN, || {
            let applied = self.api.generation()? == self.generation;
            if applied { Ok(()) } else { Err("the reload was not applied".to_owned()) }
        })
    }

    /// Stops the proxy's process, so that new connections wait in the kernel's queue.
    pub(crate) fn stop(&mut self) {
        self.is_stopped = true;
        self.proxy.signal(Signal::STOP);
    }

    /// Sends the proxy a signal.
    pub(crate) fn tell(&mut self, signal: Signal) {
        self.proxy.signal(signal);
        if std::mem::take(&mut self.is_stopped) {
            self.proxy.signal(Signal::CONT);
        }
    }

    /// Where the clients' listener listens.
    pub(crate) fn listener(&self) -> SocketAddr {
        self.listener
    }

    /// A client that has sent nothing.
    pub(crate) fn silent(&mut self, id: &str) -> Outcome<Device> {
        self.opened += 1;
        Device::silent(self.listener, id)
    }

    /// One at another listener.
    pub(crate) fn silent_at(&mut self, listener: &str, id: &str) -> Outcome<Device> {
        self.opened += 1;
        Device::silent(self.api.listener(listener)?, id)
    }

    /// A client that has sent its CONNECT.
    pub(crate) fn open(&mut self, id: &str) -> Outcome<Device> {
        self.opened += 1;
        Device::open(self.listener, id)
    }

    pub(crate) fn open_all(&mut self, ids: &[String]) -> Outcome<Vec<Device>> {
        ids.iter().map(|id| self.open(id)).collect()
    }

    /// A client with a session.
    pub(crate) fn connect(&mut self, id: &str) -> Outcome<Device> {
        let mut device = self.open(id)?;
        device.expect_accepted(std::time::Instant::now() + WITHIN)?;
        Ok(device)
    }

    /// Opens sessions that are kept.
    pub(crate) fn hold(&mut self, prefix: &str, count: usize) -> Outcome {
        for n in 0..count {
            let device = self.connect(&format!("{prefix}{n}"))?;
            self.held.push(device);
        }
        Ok(())
    }

    /// Waits until all who have heard nothing have been accepted.
    pub(crate) fn expect_pending(&mut self, within: Duration) -> Outcome {
        let mut devices = std::mem::take(&mut self.pending);
        crate::device::expect_all_accepted(&mut devices, within)?;
        self.held.append(&mut devices);
        Ok(())
    }

    /// Waits until a broker of the pool stands like this.
    pub(crate) fn wait_status(&self, broker: &str, status: &str) -> Outcome {
        self.api.wait_status(broker, status)
    }

    pub(crate) fn patch(&mut self, broker: &'static str, body: &'static str) -> Outcome {
        self.operator.push((broker, body));
        self.api.patch(broker, body)
    }

    pub(crate) fn samples(&self) -> Outcome<Samples> {
        self.api.samples()
    }
}

/// So many client IDs.
pub(crate) fn ids(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n}")).collect()
}

pub(crate) fn write(path: &Path, text: &str) -> Outcome {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
