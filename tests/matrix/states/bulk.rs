//! A session that carries a lot.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::State;
use crate::{
    Outcome,
    device::{Device, WITHIN, until_right},
    file::File,
    fixture::{Brokers, Fixture},
    operations::Operation::{self, Drain},
};

const BLOCK: usize = 128 * 1024;
/// So many bytes have to pass before the operation, and after it.
const SHARE: u64 = 32 * BLOCK as u64;

/// A broker echoes all of it, and each byte is looked at.
#[derive(Default)]
pub(super) struct Stream {
    passed: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    carrying: Option<JoinHandle<(Device, Outcome)>>,
}

impl State for Stream {
    fn name(&self) -> &'static str {
        "bulk stream"
    }

    fn configure(&mut self, _: &mut File, _: &Brokers, _: Operation, _: &Path) {}

    fn change_own_key(&mut self, file: &mut File) {
        file.top.insert("timeouts", "{ half_close: 20s }".to_owned());
    }

    fn enter(&mut self, fixture: &mut Fixture, _: Operation) -> Outcome {
        let device = fixture.connect("bulk")?;
        let (passed, stop) = (self.passed.clone(), self.stop.clone());
        self.carrying = Some(thread::spawn(move || carry(device, &passed, &stop)));
        self.wait_for_more()
    }

    fn at_once(&mut self, fixture: &mut Fixture, operation: Operation) -> Outcome {
        if operation == Drain {
            // It may be one of the first that are ended.
            self.stop.store(true, SeqCst);
            drop(self.carrying.take().map(JoinHandle::join));
            return Ok(());
        }
        self.wait_for_more()?;
        self.stop.store(true, SeqCst);
        let Some(carrying) = self.carrying.take() else { return Ok(()) };
        let (device, outcome) = carrying.join().map_err(|_| "the stream's thread".to_owned())?;
        fixture.held.push(device);
        outcome
    }
}

impl Stream {
    fn wait_for_more(&self) -> Outcome {
        let until = self.passed.load(SeqCst) + SHARE;
        until_right(2 * WITHIN, || {
            let passed = self.passed.load(SeqCst);
            if passed >= until {
                Ok(())
            } else {
                Err(format!("the stream stands at {passed} bytes"))
            }
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
    }
}

fn carry(mut device: Device, passed: &AtomicU64, stop: &AtomicBool) -> (Device, Outcome) {
    let mut outcome = Ok(());
    let mut back = vec![0; BLOCK];
    let block: Vec<u8> = (0..BLOCK).map(|at| (at * 31 % 251) as u8).collect();
    while outcome.is_ok() && !stop.load(SeqCst) {
        outcome =
            device.send(&block).and_then(|()| device.read(&mut back, Instant::now() + WITHIN));
        if outcome.is_ok() && back != block {
            outcome = Err("other bytes came back than were sent".to_owned());
        }
        passed.fetch_add(BLOCK as u64, SeqCst);
        // Other cells want the processor as well.
        thread::sleep(Duration::from_millis(2));
    }
    (device, outcome)
}
