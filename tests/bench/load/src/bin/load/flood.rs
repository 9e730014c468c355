//! A flood of CONNECTs that are refused, from many addresses, while another scenario is timed.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use mqtt_lb_bench::{mqtt, sys};

/// The addresses that the flood comes from: 127.1.0.1 to 127.1.3.250.
const SOURCES: u32 = 1_000;

/// Connections kept open at a time; the oldest is closed for a new one.
const MAX_OPEN: usize = 2_000;

/// How often connections are opened.
const TICK: Duration = Duration::from_millis(1);

/// A running flood, which ends when this is dropped.
pub struct Flood {
    stop: Arc<AtomicBool>,
    opened: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
    began: Instant,
}

impl Flood {
    /// Starts with `rate` connections a second.
    pub fn start(target: SocketAddrV4, rate: u32) -> Self {
        let (stop, opened) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, count) = (stop.clone(), opened.clone());
        let thread = thread::spawn(move || run(target, rate, &stopped, &count));
        Self { stop, opened, thread: Some(thread), began: Instant::now() }
    }

    /// Connections opened a second so far.
    pub fn rate(&self) -> f64 {
        self.opened.load(Ordering::Relaxed) as f64 / self.began.elapsed().as_secs_f64()
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(target: SocketAddrV4, rate: u32, stop: &AtomicBool, opened: &AtomicU64) {
    // The client whose pings are timed shares the core, and goes first where the kernel allows it.
    let _ = sys::yield_to_all_others();
    let connect = mqtt::connect(4, "flood");
    let mut open: VecDeque<OwnedFd> = VecDeque::with_capacity(MAX_OPEN);
    let began = Instant::now();
    let mut sent = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let due = (began.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        // A thread that got no time does not catch up with a burst of more than a tenth of a second.
        let due = due.min(sent + u64::from(rate / 10).max(1));
        while sent < due {
            sent += 1;
            if open.len() == MAX_OPEN {
                open.pop_front();
            }
            // Fails where the kernel is short of ports or descriptors: then that one is missing.
            let Ok(socket) = sys::connect(target, Some(source(sent as u32))) else { continue };
            // The proxy may have reset it already.
            let _ = sys::write(&socket, &connect);
            open.push_back(socket);
            opened.fetch_add(1, Ordering::Relaxed);
        }
        thread::sleep(TICK);
    }
}

fn source(number: u32) -> SocketAddrV4 {
    let index = number % SOURCES;
    SocketAddrV4::new(Ipv4Addr::new(127, 1, (index / 250) as u8, (index % 250 + 1) as u8), 0)
}
