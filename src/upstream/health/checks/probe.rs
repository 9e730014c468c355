//! One probe of one address: connect, exchange and close, all within the check's timeout.

use tokio::time::Instant;

use super::{
    connect::{CheckTransport, ProbeDeadline, ProbeTarget, close, connect},
    error::ProbeError,
    http, mqtt,
};
use crate::{
    config::{ActiveCheck, Probe, Secret},
    upstream::broker::Endpoint,
};

/// Probes the broker of `endpoint` at `target`. `client_id` is the client ID of an MQTT probe.
///
/// # Errors
/// Why the broker does not pass, for the operator.
pub(crate) async fn probe(
    check: &ActiveCheck,
    endpoint: &Endpoint,
    target: ProbeTarget<'_>,
    transport: CheckTransport<'_>,
    client_id: &str,
) -> Result<(), ProbeError> {
    let deadline = ProbeDeadline { at: Instant::now() + check.timeout, timeout: check.timeout };
    match &check.probe {
        Probe::Tcp => {
            close(connect(endpoint, target, transport, deadline).await?, deadline).await;
            Ok(())
        }
        Probe::Mqtt { username, password, expect } => {
            let password = password.as_ref().map(Secret::reveal);
            let packet = mqtt::connect(client_id, check.timeout, username.as_deref(), password);
            let mut stream = connect(endpoint, target, transport, deadline).await?;
            let code = mqtt::exchange(&mut stream, &packet, deadline).await?;
            close(stream, deadline).await;
            if expect.contains(&code) {
                return Ok(());
            }
            Err(ProbeError::Refused { code, expected: expect.clone() })
        }
        Probe::Http { port, path, expect, login } => {
            let ProbeTarget::Ip(mut address) = target else { return Err(ProbeError::UnixSocket) };
            address.set_port(*port);
            let login = login.as_ref().map(|(username, password)| (&**username, password.reveal()));
            let request = http::get(&endpoint.address, address, path, login)?;
            let stream =
                connect(endpoint, ProbeTarget::Ip(address), CheckTransport::default(), deadline)
                    .await?;
            let status = http::exchange(stream, request, deadline).await?;
            if expect.contains(&status) {
                return Ok(());
            }
            Err(ProbeError::Status { status, expected: expect.clone() })
        }
    }
}
