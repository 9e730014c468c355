//! A client: it sends messages to itself, each after the last has come back.

use std::{cell::RefCell, cmp::Ordering, io, rc::Rc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use crate::{
    link::{Link, Ways},
    packets::{DISCONNECT, PINGREQ, Packet, acknowledgement, connect, publish, subscribe},
    report::Report,
};

/// How long a message may take; longer only if it is lost.
const LOST_AFTER: Duration = Duration::from_secs(30);

/// Between two attempts to connect again.
const RETRY: Duration = Duration::from_millis(50);
/// How long a client attempts it.
const RECONNECT_FOR: Duration = Duration::from_mins(2);

const PUBACK: u8 = 4;
const PUBREC: u8 = 5;
const PUBREL: u8 = 6;
const PUBCOMP: u8 = 7;

/// What a client does.
#[derive(Clone, Copy)]
pub(crate) enum Habit {
    /// A message of this QoS after each pause.
    Talk { qos: u8 },
    /// Pings, one every 20 ms.
    Ping,
    /// Messages of this size.
    Bulk { size: usize, pause: Duration },
    /// Reads a few KiB at a time.
    Slow,
    /// Sends its messages in three parts.
    InParts,
}

impl Habit {
    pub(crate) fn of(number: usize) -> Self {
        match number % 50 {
            0 => Self::Ping,
            1 if number % 500 == 1 => {
                Self::Bulk { size: 256 << 10, pause: Duration::from_millis(250) }
            }
            2 if number % 100 == 2 => Self::Slow,
            3 | 4 => Self::InParts,
            _ => Self::Talk { qos: (number % 3) as u8 },
        }
    }

    fn qos(self) -> u8 {
        match self {
            Self::Talk { qos } => qos,
            Self::Ping | Self::Bulk { .. } => 0,
            Self::Slow | Self::InParts => 1,
        }
    }

    fn size(self, number: u64) -> usize {
        match self {
            Self::Bulk { size, .. } => size,
            Self::Slow => 64 << 10,
            _ => 8 + (number * 37 % 400) as usize,
        }
    }

    /// `usual` is that of most clients.
    fn pause(self, usual: Duration) -> Duration {
        match self {
            Self::Ping => Duration::from_millis(20),
            Self::Bulk { pause, .. } => pause,
            _ => usual,
        }
    }
}

pub(crate) struct Device {
    number: usize,
    name: String,
    topic: String,
    habit: Habit,
    link: Link,
    report: Rc<RefCell<Report>>,
    /// The number of the next message.
    next: u64,
    /// The QoS 2 message that has been received, but not released.
    held: Option<u16>,
}

impl Device {
    pub(crate) async fn connect(
        number: usize,
        habit: Habit,
        ways: &Ways,
        report: Rc<RefCell<Report>>,
    ) -> Result<Self, String> {
        let way = ways.of(number);
        let (name, topic) = (format!("{way}-{number}"), format!("fleet/{way}-{number}"));
        let failed = |error: &dyn std::fmt::Display| format!("{way}-{number}: {error}");
        let link = ways.open(way).await.map_err(|error| failed(&error))?;
        let mut device = Self { number, name, topic, habit, link, report, next: 0, held: None };
        device.begin().await.map_err(|error| failed(&error))?;
        Ok(device)
    }

    /// Connects again, with as many attempts as it takes.
    async fn reconnect(&mut self, ways: &Ways) -> io::Result<()> {
        let connected = async {
            loop {
                if let Ok(link) = ways.open(ways.of(self.number)).await {
                    (self.link, self.held) = (link, None);
                    if self.begin().await.is_ok() {
                        return;
                    }
                }
                sleep(RETRY).await;
            }
        };
        Ok(timeout(RECONNECT_FOR, connected).await?)
    }

    async fn begin(&mut self) -> io::Result<()> {
        self.link.send(&connect(&self.name)).await?;
        self.expect(2).await?;
        self.link.send(&subscribe(&self.topic, self.habit.qos())).await?;
        self.expect(9).await?;
        self.report.borrow_mut().connected += 1;
        Ok(())
    }

    async fn expect(&mut self, kind: u8) -> io::Result<()> {
        let packet = timeout(LOST_AFTER, self.link.receive(1024)).await??;
        if packet.kind() == kind { Ok(()) } else { Err(unexpected(&packet)) }
    }

    /// Until all are to leave, or its session ends and it does not connect again.
    pub(crate) async fn run(mut self, ways: Rc<Ways>, mut ended: watch::Receiver<bool>) {
        let pinger = match self.habit {
            Habit::Ping => Some(self.report.borrow_mut().add_pinger()),
            _ => None,
        };
        loop {
            let round = self.report.borrow().round;
            let done = match pinger {
                Some(pinger) => self.ping(pinger).await,
                None => self.talk().await,
            };
            let Err(error) = done else {
                self.report.borrow_mut().note_served(self.number, round);
                tokio::select! {
                    _ = ended.wait_for(|ended| *ended) => break,
                    () = sleep(self.habit.pause(ways.pause)) => {}
                }
                continue;
            };
            self.note_end(&error);
            if !ways.reconnect || error.kind() == io::ErrorKind::TimedOut {
                return;
            }
            if let Err(error) = self.reconnect(&ways).await {
                let fault = format!("{} cannot connect again: {error}", self.name);
                return self.report.borrow_mut().describe(fault);
            }
        }
        if self.link.send(&DISCONNECT).await.is_ok() {
            let mut report = self.report.borrow_mut();
            report.finished += 1;
            report.connected -= 1;
        }
    }

    fn note_end(&self, error: &io::Error) {
        let mut report = self.report.borrow_mut();
        report.connected -= 1;
        match error.kind() {
            io::ErrorKind::TimedOut => report.lost += 1,
            _ => report.ended += 1,
        }
        report.describe(format!("{}, message {}: {error}", self.name, self.next));
    }

    async fn ping(&mut self, pinger: usize) -> io::Result<()> {
        let began = Instant::now();
        self.link.send(&PINGREQ).await?;
        self.expect(13).await?;
        self.report.borrow_mut().note_ping(pinger, began.elapsed());
        Ok(())
    }

    /// Sends a message, and waits until it has come back and every exchange about it is over.
    async fn talk(&mut self) -> io::Result<()> {
        let qos = self.habit.qos();
        let id = (self.next % 60_000) as u16 + 1;
        let payload = payload(self.next, self.habit.size(self.next));
        let packet = publish(&self.topic, qos, id, &payload);
        match self.habit {
            Habit::InParts => self.send_in_parts(&packet).await?,
            _ => self.link.send(&packet).await?,
        }
        let (mut is_back, mut is_taken) = (false, qos == 0);
        while !(is_back && is_taken && self.held.is_none()) {
            let packet = timeout(LOST_AFTER, self.receive()).await?;
            let packet = packet?;
            match packet.kind() {
                3 => is_back |= self.take_message(&packet, &payload).await?,
                PUBACK | PUBCOMP if packet.id() == id => is_taken = true,
                PUBREC if packet.id() == id => {
                    self.link.send(&acknowledgement(0x62, id)).await?;
                }
                PUBREL if self.held == Some(packet.id()) => {
                    self.held = None;
                    self.link.send(&acknowledgement(0x70, packet.id())).await?;
                }
                _ => return Err(unexpected(&packet)),
            }
        }
        self.next += 1;
        self.report.borrow_mut().messages += 1;
        Ok(())
    }

    async fn receive(&mut self) -> io::Result<Packet> {
        if matches!(self.habit, Habit::Slow) {
            sleep(Duration::from_millis(10)).await;
            return self.link.receive(4096).await;
        }
        self.link.receive(64 << 10).await
    }

    async fn send_in_parts(&mut self, packet: &[u8]) -> io::Result<()> {
        let wire = self.link.wire(packet);
        for part in wire.chunks(wire.len().div_ceil(3)) {
            self.link.send_wire(part).await?;
            sleep(Duration::from_millis(300)).await;
        }
        Ok(())
    }

    /// Whether it is the message that was sent last.
    async fn take_message(&mut self, packet: &Packet, sent: &[u8]) -> io::Result<bool> {
        let message = packet.message();
        let number = message.payload.first_chunk().map_or(u64::MAX, |n| u64::from_be_bytes(*n));
        let is_expected = {
            let report = &mut *self.report.borrow_mut();
            let fault = match number.cmp(&self.next) {
                Ordering::Less => Some(&mut report.doubled),
                Ordering::Greater => Some(&mut report.out_of_order),
                Ordering::Equal if message.is_duplicate => Some(&mut report.doubled),
                Ordering::Equal if message.payload != sent => Some(&mut report.damaged),
                Ordering::Equal => None,
            };
            let is_expected = fault.is_none();
            if let Some(count) = fault {
                *count += 1;
                report.describe(format!("{}, message {}: got {number}", self.name, self.next));
            }
            is_expected
        };
        match message.qos {
            0 => {}
            1 => self.link.send(&acknowledgement(0x40, message.id)).await?,
            _ => {
                self.held = Some(message.id);
                self.link.send(&acknowledgement(0x50, message.id)).await?;
            }
        }
        Ok(is_expected)
    }
}

/// The number of the message, then bytes that follow from it.
fn payload(number: u64, size: usize) -> Vec<u8> {
    let mut payload = number.to_be_bytes().to_vec();
    let rest = (0..size.saturating_sub(payload.len()) as u64).map(|at| (at * 7 + number) as u8);
    payload.extend(rest);
    payload
}

fn unexpected(packet: &Packet) -> io::Error {
    io::Error::other(format!("packet of type {} was not expected", packet.kind()))
}
