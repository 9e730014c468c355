//! The authentication exchange between client and broker before the CONNACK (MQTT 5.0 4.12).

use std::{borrow::Cow, future::poll_fn, io, rc::Rc, task::Poll};

use crate::{
    labels::{EndBy, EndCause, EndPhase},
    net::Stream,
    proto::mqtt::{self, Connack, Malformed, Progress, Version, connack},
    session::{
        context::{READ_BYTES, WorkerContext},
        end::End,
    },
};

/// A client, and the broker that has its CONNECT and has not sent a CONNACK yet.
pub(crate) struct AuthExchange<'a> {
    context: &'a Rc<WorkerContext>,
    client: &'a Stream,
    upstream: &'a Stream,
    version: Version,
    /// Data from the broker that was not passed on: finally the CONNACK and what followed it.
    pub(crate) reply: Vec<u8>,
    /// Bytes of the authentication exchange passed on: from the client, and to it.
    pub(crate) exchanged: (u32, u32),
}

impl<'a> AuthExchange<'a> {
    pub(crate) fn new(
        context: &'a Rc<WorkerContext>,
        client: &'a Stream,
        upstream: &'a Stream,
        version: Version,
    ) -> Self {
        let reply = context.take_buffer();
        Self { context, client, upstream, version, reply, exchanged: (0, 0) }
    }

    /// Waits for the CONNACK, and passes on the AUTH packets that may precede it.
    pub(crate) async fn connack(&mut self) -> Result<Connack, End> {
        let limit = self.context.limits.get().connack_packet;
        let mut authenticating = false;
        let mut need = 1;
        loop {
            while self.reply.len() < need {
                if authenticating {
                    // Boxed, as few handshakes need it.
                    Box::pin(self.read_both()).await?;
                } else {
                    self.read_broker().await?;
                }
            }
            need = if self.version == Version::V5 && mqtt::first_packet_is_auth(&self.reply) {
                match mqtt::packet_len(&self.reply) {
                    Ok(Some(len)) if len <= self.reply.len() => {
                        Box::pin(self.pass_auth(len)).await?;
                        authenticating = true;
                        1
                    }
                    Ok(Some(len)) if len <= limit => len,
                    Ok(None) => self.reply.len() + 1,
                    Ok(Some(len)) => return Err(too_long("an AUTH packet", len, limit)),
                    Err(error) => return Err(malformed(error.to_string())),
                }
            } else {
                match connack::parse(&self.reply, self.version, limit) {
                    Ok(Progress::Complete(connack)) => return Ok(connack),
                    Ok(Progress::Incomplete { need }) => need,
                    Err(Malformed::TooLarge { len, limit }) => {
                        return Err(too_long("a CONNACK", len, limit));
                    }
                    Err(error) => return Err(malformed(error.to_string())),
                }
            };
        }
    }

    async fn read_broker(&mut self) -> Result<(), End> {
        let (context, upstream, reply) = (self.context, self.upstream, &mut self.reply);
        let read = poll_fn(|cx| {
            let scratch = &mut *context.scratch.lend();
            let read = scratch.receive(READ_BYTES, |room| upstream.poll_recv(cx, room));
            reply.extend_from_slice(scratch.bytes());
            read
        });
        broker_read(read.await)
    }

    /// Waits for the broker, and passes on what the client sends in the meantime.
    async fn read_both(&mut self) -> Result<(), End> {
        loop {
            let (context, client, upstream) = (self.context, self.client, self.upstream);
            let reply = &mut self.reply;
            let received = poll_fn(|cx| {
                let scratch = &mut *context.scratch.lend();
                let read = scratch.receive(READ_BYTES, |room| upstream.poll_recv(cx, room));
                if let Poll::Ready(read) = read {
                    reply.extend_from_slice(scratch.bytes());
                    return Poll::Ready(Err(broker_read(read)));
                }
                let read = scratch.receive(READ_BYTES, |room| client.poll_recv(cx, room));
                read.map(|read| Ok(read.map(|_| scratch.bytes().to_vec())))
            });
            match received.await {
                Err(broker) => return broker,
                Ok(Ok(bytes)) if bytes.is_empty() => {
                    return Err(End::new(EndBy::Client, EndPhase::Connack, EndCause::Closed));
                }
                Ok(Ok(bytes)) => {
                    self.exchanged.0 = self.exchanged.0.saturating_add(bytes.len() as u32);
                    upstream
                        .send_all(&bytes)
                        .await
                        .map_err(|error| End::failed(EndBy::Upstream, EndPhase::Connack, &error))?;
                }
                Ok(Err(error)) => {
                    return Err(End::failed(EndBy::Client, EndPhase::Connack, &error));
                }
            }
        }
    }

    async fn pass_auth(&mut self, len: usize) -> Result<(), End> {
        let auth: Vec<u8> = self.reply.drain(..len).collect();
        self.exchanged.1 = self.exchanged.1.saturating_add(len as u32);
        let sent = self.client.send_all(&auth).await;
        sent.map_err(|error| End::failed(EndBy::Client, EndPhase::Connack, &error))
    }
}

fn broker_read(read: io::Result<usize>) -> Result<(), End> {
    match read {
        Ok(0) => Err(End::new(EndBy::Upstream, EndPhase::Connack, EndCause::Closed)),
        Ok(_) => Ok(()),
        Err(error) => Err(End::failed(EndBy::Upstream, EndPhase::Connack, &error)),
    }
}

/// The limit is the proxy's, so this is not a failure of the broker.
fn too_long(packet: &str, len: usize, limit: usize) -> End {
    End::new(EndBy::Proxy, EndPhase::Connack, EndCause::Limit)
        .with(format!("{packet} of {len} bytes is over limits.connack_packet ({limit} bytes)"))
}

fn malformed(what: impl Into<Cow<'static, str>>) -> End {
    End::new(EndBy::Upstream, EndPhase::Connack, EndCause::Malformed).with(what)
}
