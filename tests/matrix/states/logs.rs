//! Logs that nobody reads.

use std::{
    fs::{self, File as Pipe},
    io::{Read, Write},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, fcntl_setfl, mknodat},
    pipe::fcntl_setpipe_size,
    process::{Pid, Signal, kill_process},
};

use super::State;
use crate::{
    Outcome,
    device::{WITHIN, until_right},
    file::File,
    fixture::{Brokers, Fixture},
    operations::Operation::{self, Drain, OwnKey},
};

/// An access log whose reader has stopped; `when_full` is block.
#[derive(Default)]
pub(super) struct AccessLogBlocked {
    pipe: Option<Pipe>,
    /// Ends what reads it in the end.
    stop: Arc<AtomicBool>,
}

impl State for AccessLogBlocked {
    fn name(&self) -> &'static str {
        "access log blocked"
    }

    fn configure(&mut self, file: &mut File, _: &Brokers, _: Operation, folder: &Path) {
        let pipe = make_pipe(&folder.join("pipe.log"));
        let _ = fcntl_setpipe_size(&pipe, 4096);
        self.pipe = Some(pipe);
        // Nobody can be recorded meanwhile, so a drain takes all of its time.
        file.top.insert("drain", "{ timeout: 2s }".to_owned());
        // Long lines, so that a few clients fill all that is on the way to the pipe.
        let format = "${client_id}".repeat(32);
        file.more_logs =
            Some(format!("{{ path: pipe.log, format: \"{format}\", when_full: block }}"));
    }

    fn change_own_key(&mut self, file: &mut File) {
        let log = file.more_logs.take().map(|log| log.replace("block", "drop"));
        file.more_logs = log;
    }

    fn enter(&mut self, fixture: &mut Fixture, _: Operation) -> Outcome {
        let name = "n".repeat(4000);
        for n in 0..200 {
            let mut device = fixture.open(&format!("{name}{n}"))?;
            let until = Instant::now() + Duration::from_secs(1);
            if device.expect_accepted(until).is_err() {
                // It waits in the kernel's queue, or for its turn behind the log.
                fixture.pending.push(device);
                return Ok(());
            }
        }
        Err("nobody has to wait behind the log".to_owned())
    }

    fn holds_newcomers(&self, operation: Operation) -> bool {
        operation != OwnKey
    }

    fn heal(&mut self, fixture: &mut Fixture, operation: Operation) -> Outcome {
        if operation == OwnKey {
            // Nobody waits for a log that drops, though it is still not read.
            fixture.expect_pending(WITHIN)?;
        }
        let Some(mut pipe) = self.pipe.take() else { return Ok(()) };
        let stop = self.stop.clone();
        thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            // The test's own end is open for writing too, so there is always more to come.
            let _ = fcntl_setfl(&pipe, OFlags::NONBLOCK);
            while !stop.load(SeqCst) {
                if !matches!(pipe.read(&mut buffer), Ok(1..)) {
                    thread::sleep(Duration::from_millis(5));
                }
            }
        });
        fixture.expect_pending(WITHIN)
    }
}

impl Drop for AccessLogBlocked {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
    }
}

/// The program's log: what reads standard error is stopped.
#[derive(Default)]
pub(super) struct StderrBlocked {
    pipe: Option<Pipe>,
    reader: Option<Pid>,
}

impl State for StderrBlocked {
    fn name(&self) -> &'static str {
        "program's log blocked"
    }

    fn configure(&mut self, _: &mut File, _: &Brokers, _: Operation, folder: &Path) {
        let pipe = make_pipe(&stderr_of(folder));
        let _ = fcntl_setpipe_size(&pipe, 4096);
        self.pipe = Some(pipe);
    }

    /// What is written goes by way of a process that can be stopped.
    fn command(&self, program: &str, folder: &Path) -> Command {
        let script = "cat < \"$0\" >&2 & echo $! > \"$0.pid\"; exec \"$@\" 2> \"$0\"";
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).arg(stderr_of(folder)).arg(program);
        command.env_remove("RUST_LOG");
        command
    }

    fn change_own_key(&mut self, file: &mut File) {
        file.top.insert("log", "{ level: debug }".to_owned());
    }

    fn enter(&mut self, fixture: &mut Fixture, _: Operation) -> Outcome {
        let path = stderr_of(fixture.proxy.dir.path());
        let pid = fs::read_to_string(format!("{}.pid", path.display()));
        let pid = pid.ok().and_then(|pid| Pid::from_raw(pid.trim().parse().ok()?));
        let reader = pid.ok_or("the reader's process is not known")?;
        self.reader = Some(reader);
        kill_process(reader, Signal::STOP).map_err(|error| error.to_string())?;
        until_right(WITHIN, || {
            let path = format!("/proc/{}/stat", reader.as_raw_nonzero());
            let stat = fs::read_to_string(path).map_err(|error| error.to_string())?;
            if stat.contains(") T ") { Ok(()) } else { Err("the reader does not stop".to_owned()) }
        })?;
        let mut pipe = self.pipe.as_ref().ok_or("no pipe")?;
        // Filled to the last byte, so that the next line has no room.
        fcntl_setfl(pipe, OFlags::NONBLOCK).map_err(|error| error.to_string())?;
        while pipe.write(b"\n").is_ok() {}
        fixture.proxy.signal(Signal::USR1);
        Ok(())
    }

    fn heal(&mut self, _: &mut Fixture, operation: Operation) -> Outcome {
        // A drain has to end without it.
        if operation != Drain {
            self.go_on();
        }
        Ok(())
    }
}

impl StderrBlocked {
    fn go_on(&mut self) {
        if let Some(reader) = self.reader.take() {
            let _ = kill_process(reader, Signal::CONT);
        }
        // Without the test's end the reader ends with the proxy.
        self.pipe = None;
    }
}

impl Drop for StderrBlocked {
    fn drop(&mut self) {
        self.go_on();
    }
}

fn stderr_of(folder: &Path) -> PathBuf {
    folder.join("stderr.pipe")
}

/// A named pipe, with an end that is open for both.
fn make_pipe(path: &Path) -> Pipe {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    Pipe::options().read(true).write(true).open(path).unwrap()
}
