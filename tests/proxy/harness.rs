//! The proxy under test: its configuration, its processes, its log lines and its metrics.

#[path = "processes.rs"]
mod processes;

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Command, ExitStatus, Output, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use processes::Processes;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long a condition may take to come true, on a machine that has other work.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(5);

/// Tests that load both cores take this, so that they do not load them at once.
static HEAVY: Mutex<()> = Mutex::new(());

pub(crate) fn heavy() -> MutexGuard<'static, ()> {
    HEAVY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Set when this is dropped, after a panic too: what other threads wait for.
pub(crate) struct SetAtEnd<'a>(pub(crate) &'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The lines of refused connections, once there are so many.
#[track_caller]
pub(crate) fn rejects(proxy: &Proxy, count: usize) -> Vec<Value> {
    wait_for(&format!("{count} rejects"), || {
        let mut log = proxy.log();
        log.retain(|line| line["event"] == "reject");
        (log.len() >= count).then_some(log)
    })
}

/// Waits until `look` finds what it looks for.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < give_up, "waited in vain for {what}");
        thread::sleep(POLL);
    }
}

pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqtt-lb"));
    command.env_remove("RUST_LOG");
    command
}

/// Runs a command of the program to its end.
pub(crate) fn run(args: &[&str], stdin: &str) -> Output {
    let mut child = program()
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads no input may have ended already.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

/// A running proxy; killed when it is dropped.
pub(crate) struct Proxy {
    processes: Processes,
    pub(crate) dir: TempDir,
    stderr: Arc<Mutex<Vec<String>>>,
    /// Held, nobody reads the proxy's standard error.
    pub(crate) reading: Arc<Mutex<()>>,
    listeners: HashMap<String, String>,
    admin: Option<SocketAddr>,
}

impl Proxy {
    pub(crate) fn start(config: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), config, |_| program())
    }

    /// `command` gets the program's path where it has to wrap it.
    pub(crate) fn start_in(
        dir: TempDir,
        config: &str,
        command: impl FnOnce(&str) -> Command,
    ) -> Self {
        let mut proxy = Self::spawn(dir, config, command);
        let wanted = if config.contains("admin:") { "admin listening" } else { " listening " };
        wait_for("the proxy to listen", || {
            let lines = proxy.stderr();
            if let Some(status) = proxy.processes.try_wait() {
                panic!("the proxy ended with {status}: {}", lines.join("\n"));
            }
            lines.iter().any(|line| line.contains(wanted)).then_some(())
        });
        for line in proxy.stderr() {
            let Some(address) = field(&line, "address=") else { continue };
            if let Some(listener) = field(&line, "listener=") {
                proxy.listeners.insert(listener.to_owned(), address.to_owned());
            } else if line.contains("admin listening") {
                proxy.admin = Some(address.parse().unwrap());
            }
        }
        proxy
    }

    /// Starts it without waiting until it listens.
    pub(crate) fn spawn(dir: TempDir, config: &str, command: impl FnOnce(&str) -> Command) -> Self {
        let file = dir.path().join("config.yaml");
        fs::write(&file, config).unwrap();
        let mut child = command(env!("CARGO_BIN_EXE_mqtt-lb"))
            .arg("run")
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = Arc::<Mutex<Vec<String>>>::default();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let reading = Arc::<Mutex<()>>::default();
        let (collected, allowed) = (stderr.clone(), reading.clone());
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                drop(allowed.lock().unwrap_or_else(PoisonError::into_inner));
                collected.lock().unwrap().push(line);
            }
        });
        let (processes, listeners) = (Processes::new(child), HashMap::new());
        Self { processes, dir, stderr, reading, listeners, admin: None }
    }

    pub(crate) fn stderr(&self) -> Vec<String> {
        self.stderr.lock().unwrap().clone()
    }

    pub(crate) fn wait_stderr(&self, part: &str) {
        wait_for(part, || self.stderr().iter().any(|line| line.contains(part)).then_some(()));
    }

    /// Where the listener `mqtt` listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address_of("mqtt")
    }

    pub(crate) fn address_of(&self, listener: &str) -> SocketAddr {
        self.listeners[listener].parse().unwrap()
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin.unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn config_file(&self) -> String {
        self.path("config.yaml").to_str().unwrap().to_owned()
    }

    /// The whole lines of the access log; each has to be JSON.
    pub(crate) fn log(&self) -> Vec<Value> {
        json_lines(&self.path("access.log"))
    }

    #[track_caller]
    pub(crate) fn wait_log(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, || self.log().into_iter().find(|line| is_it(line)))
    }

    /// The last line of the connection with this client ID.
    #[track_caller]
    pub(crate) fn wait_end(&self, client_id: &str) -> Value {
        self.wait_log(client_id, |line| line["client_id"] == client_id && is_end(line))
    }

    #[track_caller]
    pub(crate) fn wait_connected(&self, client_id: &str) -> Value {
        self.wait_log(client_id, |line| {
            line["client_id"] == client_id && line["event"] == "connect"
        })
    }

    /// The `disconnect`, `reject` and `probe` lines, once there are at least so many.
    #[track_caller]
    pub(crate) fn wait_ends(&self, count: usize) -> Vec<Value> {
        wait_for(&format!("{count} ends"), || {
            let ends: Vec<_> = self.log().into_iter().filter(is_end).collect();
            (ends.len() >= count).then_some(ends)
        })
    }

    pub(crate) fn get(&self, path: &str) -> String {
        let mut admin = TcpStream::connect(self.admin()).unwrap();
        admin.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(admin, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        admin.read_to_string(&mut answer).unwrap();
        answer
    }

    /// The sum of the samples of a family whose labels contain all of `labels`.
    pub(crate) fn metric(&self, family: &str, labels: &[&str]) -> f64 {
        let answer = self.get("/metrics");
        let samples = answer.lines().filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            let (family_of, labels_of) = name.split_once('{').unwrap_or((name, ""));
            let is_it = family_of == family && labels.iter().all(|label| labels_of.contains(label));
            is_it.then(|| value.parse::<f64>().unwrap())
        });
        samples.sum()
    }

    #[track_caller]
    pub(crate) fn wait_metric(&self, family: &str, labels: &[&str], wanted: f64) {
        wait_for(&format!("{family} {labels:?} to be {wanted}"), || {
            ((self.metric(family, labels) - wanted).abs() < 0.5).then_some(())
        });
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.processes.pid(), signal).unwrap();
    }

    /// Process `pid` has taken over by an upgrade: what follows is about this one.
    pub(crate) fn follow(&self, pid: u32) {
        self.processes.follow(Pid::from_raw(pid.cast_signed()).unwrap());
    }

    /// How the processes before the upgrades have ended, once all have.
    pub(crate) fn earlier_exits(&self) -> Option<Vec<ExitStatus>> {
        self.processes.earlier_exits()
    }

    #[track_caller]
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        wait_for("the proxy to end", || self.processes.try_wait())
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.processes.is_running()
    }

    pub(crate) fn id(&self) -> u32 {
        self.processes.pid().as_raw_nonzero().get().cast_unsigned()
    }

    /// Memory of its own, in bytes: what no file stands behind.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
        let kilobytes = line.split_whitespace().nth(1).unwrap();
        kilobytes.parse::<u64>().unwrap() * 1024
    }

    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(self.proc("fd")).unwrap().count()
    }

    /// Descriptors that are a pipe's end.
    pub(crate) fn pipe_ends(&self) -> usize {
        let descriptors = fs::read_dir(self.proc("fd")).unwrap();
        descriptors
            .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
            .filter(|target| target.to_string_lossy().starts_with("pipe:"))
            .count()
    }

    /// Processor time used so far, in clock ticks of 10 ms.
    pub(crate) fn processor_ticks(&self) -> u64 {
        let stat = fs::read_to_string(self.proc("stat")).unwrap();
        let fields = stat.rsplit_once(')').unwrap().1;
        // utime and stime are fields 14 and 15 of proc(5); the state, after the name, is field 3.
        fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    /// A file of this process in proc(5).
    pub(crate) fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.id())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the proxy said:\n{}", self.stderr().join("\n"));
            let log = self.log();
            for line in log.iter().rev().take(10).rev() {
                eprintln!("{line}");
            }
        }
    }
}

/// The value of `name=value` in a line of the program's log.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(name)?;
    rest.split_whitespace().next()
}

pub(crate) fn is_end(line: &Value) -> bool {
    ["disconnect", "reject", "probe"].iter().any(|event| line["event"] == **event)
}

/// `by/phase/cause` of an end.
pub(crate) fn end(line: &Value) -> String {
    let word = |field: &str| line[field].as_str().unwrap_or("-").to_owned();
    format!("{}/{}/{}", word("end_by"), word("end_phase"), word("end_cause"))
}

/// The whole lines of a JSON log.
pub(crate) fn json_lines(file: &std::path::Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}
