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
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    runtime::{self, Runtime},
    time::timeout,
};

use super::target::{Place, Target};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// For an answer. The proxy gives a reload 30 s, and all else 2 s at most for each worker.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);

/// The longest answer: a thousand sessions whose client IDs fill their CONNECTs have 64 MiB.
const ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// What came of a request.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
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

    /// What is answered with success, as JSON; null where it is nothing.
    pub(super) fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, CallError> {
        let reply = self.send(method, path, body)?;
        let json = if reply.body.is_empty() {
            Ok(Value::Null)
        } else {
            serde_json::from_slice::<Value>(&reply.body)
        };
        let json = json.map_err(|error| self.protocol(&error))?;
        match reply.status {
            status if status.is_success() => Ok(json),
            StatusCode::UNAUTHORIZED => Err(match &self.target.token {
                Some(token) => CallError::WrongToken(token.from.clone()),
                None => CallError::NoToken,
            }),
            status => {
                let error =
                    json["error"].as_str().map_or_else(|| status.to_string(), str::to_owned);
                let faults = json["faults"].as_array().into_iter().flatten();
                let faults = faults.filter_map(Value::as_str).map(str::to_owned).collect();
                Err(CallError::Refused(error, faults))
            }
        }
    }

    pub(super) fn get(&self, path: &str) -> Result<Value, CallError> {
        self.call(Method::GET, path, None)
    }

    /// Whatever is answered.
    pub(super) fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Reply, CallError> {
        let mut request =
            Request::builder().method(method).uri(path).header(HOST, self.target.place.host());
        if let Some(token) = &self.target.token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.text));
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(String::new, Value::to_string);
        let request = request.body(Full::from(body)).map_err(|error| self.protocol(&error))?;
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

/// A text as a part of a path or a query has it (RFC 3986, section 2.3).
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            for digit in [byte >> 4, byte & 15] {
                encoded.extend(char::from_digit(digit.into(), 16).map(|c| c.to_ascii_uppercase()));
            }
        }
    }
    encoded
}
