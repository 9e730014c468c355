//! Asking the admin API.

use std::{fmt::Display, io, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, StatusCode,
    client::conn::http1,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    runtime::{self, Runtime},
    time::timeout,
};

use super::target::{Place, Target};
use crate::api;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// For an answer. The proxy gives a reload 30 s, and all else 2 s at most for each worker.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);

/// The longest answer: a thousand sessions whose client IDs fill their CONNECTs have 64 MiB.
const ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// A response, whatever its status.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// What the API answered.
pub(super) struct Answer<T> {
    /// As the proxy sent it; `null` for an empty body.
    pub(super) json: Value,
    /// The same as a type of the API.
    pub(super) content: T,
}

/// Why there is no answer to a request, or not the one that was wanted.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error(
        "cannot reach the proxy at {place}: {error}; is it running, and does its configuration's \
         `admin` say so?"
    )]
    Connect { place: String, error: io::Error },
    #[error("no answer from {0} within {ANSWER_TIMEOUT:?}")]
    Silent(String),
    #[error("what answers at {place} is no admin listener: {error}")]
    Protocol { place: String, error: String },
    #[error("the proxy wants a token: give it with --token-file or in MQTT_LB_TOKEN")]
    NoToken,
    #[error("the proxy has another token than {0}")]
    WrongToken(String),
    #[error("{}", said(.0, .1))]
    Refused(String, Vec<String>),
}

fn said(error: &str, faults: &[String]) -> String {
    faults.iter().fold(error.to_owned(), |said, fault| format!("{said}\n  {fault}"))
}

pub(super) struct Client {
    target: Target,
    runtime: Runtime,
}

impl Client {
    pub(super) fn new(target: Target) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { target, runtime })
    }

    /// Sends a request that has to succeed.
    pub(super) fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<Answer<T>, CallError> {
        let reply = self.send(method, path, body)?;
        if !reply.status.is_success() {
            return Err(self.refused(&reply));
        }
        let body: &[u8] = if reply.body.is_empty() { b"null" } else { &reply.body };
        let json: Value = serde_json::from_slice(body).map_err(|error| self.protocol(&error))?;
        let content = T::deserialize(&json).map_err(|error| self.protocol(&error))?;
        Ok(Answer { json, content })
    }

    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, CallError> {
        self.call(Method::GET, path, None)
    }

    fn refused(&self, reply: &Reply) -> CallError {
        match (reply.status, &self.target.token) {
            (StatusCode::UNAUTHORIZED, None) => CallError::NoToken,
            (StatusCode::UNAUTHORIZED, Some(token)) => CallError::WrongToken(token.from.clone()),
            (status, _) => match serde_json::from_slice(&reply.body) {
                Ok(api::Error { error, faults }) => {
                    CallError::Refused(error, faults.unwrap_or_default())
                }
                Err(_) => CallError::Refused(status.to_string(), Vec::new()),
            },
        }
    }

    /// Sends a request, with JSON as its body.
    pub(super) fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<Reply, CallError> {
        let mut request =
            Request::builder().method(method).uri(path).header(HOST, self.target.place.host());
        if let Some(token) = &self.target.token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.text));
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = Full::from(body.unwrap_or_default());
        let request = request.body(body).map_err(|error| self.protocol(&error))?;
        self.runtime.block_on(self.exchange(request))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Reply, CallError> {
        let late = |_| CallError::Silent(self.target.place.to_string());
        let exchange = async {
            match &self.target.place {
                Place::Tcp { host, port } => {
                    let stream = self.connected(TcpStream::connect((&**host, *port))).await?;
                    self.over(stream, request).await
                }
                Place::Unix(path) => {
                    let stream = self.connected(UnixStream::connect(path)).await?;
                    self.over(stream, request).await
                }
            }
        };
        timeout(ANSWER_TIMEOUT, exchange).await.map_err(late)?
    }

    async fn connected<S>(
        &self,
        connecting: impl Future<Output = io::Result<S>>,
    ) -> Result<S, CallError> {
        let connected = timeout(CONNECT_TIMEOUT, connecting).await;
        let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let place = || self.target.place.to_string();
        connected.map_err(|error| CallError::Connect { place: place(), error })
    }

    async fn over(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        request: Request<Full<Bytes>>,
    ) -> Result<Reply, CallError> {
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| self.protocol(&error))?;
        // What is wrong with the connection, the sender is told as well.
        tokio::spawn(async { drop(connection.await) });
        let answer = sender.send_request(request).await.map_err(|error| self.protocol(&error))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| self.protocol(&error))?.to_bytes();
        Ok(Reply { status: head.status, body })
    }

    fn protocol(&self, error: &dyn Display) -> CallError {
        CallError::Protocol { place: self.target.place.to_string(), error: error.to_string() }
    }
}
