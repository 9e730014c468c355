//! Runs `check` of the new program, so that a faulty configuration or a program that cannot run is
//! found before anything is handed over.

use std::{io, path::Path, process::Stdio, time::Duration};

use tokio::{net::unix::pipe, process::Command, time::timeout};

use crate::escape::plain_lines;

/// The limit for the check: reading thousands of certificate files takes less.
const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// The most output that is reported.
const MAX_OUTPUT_BYTES: usize = 8 * 1024;

/// The output of a check that has succeeded: its warnings.
type Output = String;

/// Checks the configuration in `file` with `binary`.
///
/// # Errors
/// What the check has printed, or why it did not end.
pub(super) async fn check(binary: &Path, file: &Path) -> Result<Output, String> {
    let name = format!("{} check -c {}", binary.display(), file.display());
    match timeout(CHECK_TIMEOUT, run(binary, file)).await {
        Ok(Ok((true, output))) => Ok(output),
        Ok(Ok((false, output))) if output.is_empty() => Err(format!("{name} failed")),
        Ok(Ok((false, output))) => Err(format!("{name} failed: {output}")),
        Ok(Err(error)) => Err(format!("cannot run {name}: {error}")),
        Err(_) => Err(format!("{name} took longer than {CHECK_TIMEOUT:?}")),
    }
}

/// Whether the check has succeeded, and what it has printed.
async fn run(binary: &Path, file: &Path) -> io::Result<(bool, Output)> {
    let (reader, writer) = io::pipe()?;
    // Dropping the command closes this process' copies of the pipe.
    let mut child = Command::new(binary)
        .arg("check")
        .arg("-c")
        .arg(file)
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .kill_on_drop(true)
        .spawn()?;
    let reader = pipe::Receiver::from_owned_fd(reader.into())?;
    let mut output = Vec::new();
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            readable = reader.readable() => {
                readable?;
                if !read(&reader, &mut output)? {
                    break child.wait().await?;
                }
            }
        }
    };
    // A process that the check has started may keep the pipe open.
    read(&reader, &mut output)?;
    let output = plain_lines(&String::from_utf8_lossy(&output));
    Ok((status.success(), output.trim_end().to_owned()))
}

/// Reads what is there; false at the end. What exceeds the limit is dropped.
fn read(reader: &pipe::Receiver, output: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    // Bounded: a program that writes without end must not keep the control thread.
    for _ in 0..16 {
        match reader.try_read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(n) => {
                let room = MAX_OUTPUT_BYTES - output.len();
                output.extend_from_slice(buffer.get(..n.min(room)).unwrap_or_default());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}
