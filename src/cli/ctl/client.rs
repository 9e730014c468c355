//! A client of the admin API.

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

use super::target::{AdminAddress, CtlTarget};
use crate::api;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The limit for a response. The proxy allows 30 s for a reload, and 2 s per worker for anything
/// else.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(35);

/// The limit for the response to an upgrade, for which the proxy allows 80 s.
pub(super) const UPGRADE_TIMEOUT: Duration = Duration::from_secs(85);

/// The longest response: a thousand sessions with the longest client IDs take 64 MiB, more if
/// escaped.
const MAX_RESPONSE_BYTES: usize = 256 * 1024 * 1024;

/// A response of any status.
pub(super) struct RawResponse {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// A successful response.
pub(super) struct ApiResponse<T> {
    /// As the proxy sent it, or converted from YAML; `null` for an empty body.
    pub(super) json: Value,
    /// The same as a type of the API, or the text of the YAML.
    pub(super) content: T,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error(
        "cannot connect to the proxy at {address}: {error}; is it running, and is this the \
         `admin.bind` of its configuration?"
    )]
    Connect { address: String, error: io::Error },
    #[error("no response from {0} within {1:?}")]
    NoResponse(String, Duration),
    #[error("the server at {address} is not an admin listener: {error}")]
    Protocol { address: String, error: String },
    #[error("the proxy requires a token: pass it with --token-file or in MQTT_LB_TOKEN")]
    NoToken,
    #[error("the proxy refuses the token of {0}")]
    WrongToken(String),
    #[error("{}", with_faults(.0, .1))]
    Refused(String, Vec<String>),
}

fn with_faults(error: &str, faults: &[String]) -> String {
    faults.iter().fold(error.to_owned(), |text, fault| format!("{text}\n  {fault}"))
}

pub(super) struct ApiClient {
    target: CtlTarget,
    runtime: Runtime,
    /// The limit for a response.
    timeout: Duration,
}

impl ApiClient {
    pub(super) fn new(target: CtlTarget, timeout: Duration) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { target, runtime, timeout })
    }

    /// Sends a request; any response but a success is an error.
    pub(super) fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<ApiResponse<T>, CallError> {
        let body = self.successful(method, path, body)?;
        let body: &[u8] = if body.is_empty() { b"null" } else { &body };
        let json: Value = serde_json::from_slice(body).map_err(|error| self.protocol(&error))?;
        let content = T::deserialize(&json).map_err(|error| self.protocol(&error))?;
        Ok(ApiResponse { json, content })
    }

    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<ApiResponse<T>, CallError> {
        self.call(Method::GET, path, None)
    }

    /// Gets a document in YAML: its text, and the same as JSON.
    pub(super) fn get_yaml(&self, path: &str) -> Result<ApiResponse<String>, CallError> {
        let body = self.successful(Method::GET, path, None)?;
        let text = String::from_utf8(body.into()).map_err(|error| self.protocol(&error))?;
        let json = serde_yaml::from_str(&text).map_err(|error| self.protocol(&error))?;
        Ok(ApiResponse { json, content: text })
    }

    /// The body of a successful response.
    fn successful(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<Bytes, CallError> {
        let reply = self.send(method, path, body)?;
        if reply.status.is_success() { Ok(reply.body) } else { Err(self.refused(&reply)) }
    }

    fn refused(&self, reply: &RawResponse) -> CallError {
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
    ) -> Result<RawResponse, CallError> {
        let mut request =
            Request::builder().method(method).uri(path).header(HOST, self.target.address.host());
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

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<RawResponse, CallError> {
        let late = |_| CallError::NoResponse(self.target.address.to_string(), self.timeout);
        let exchange = async {
            match &self.target.address {
                AdminAddress::Tcp { host, port } => {
                    let stream = self.connected(TcpStream::connect((&**host, *port))).await?;
                    self.over(stream, request).await
                }
                AdminAddress::Unix(path) => {
                    let stream = self.connected(UnixStream::connect(path)).await?;
                    self.over(stream, request).await
                }
            }
        };
        timeout(self.timeout, exchange).await.map_err(late)?
    }

    async fn connected<S>(
        &self,
        connecting: impl Future<Output = io::Result<S>>,
    ) -> Result<S, CallError> {
        let connected = timeout(CONNECT_TIMEOUT, connecting).await;
        let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let address = || self.target.address.to_string();
        connected.map_err(|error| CallError::Connect { address: address(), error })
    }

    async fn over(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        request: Request<Full<Bytes>>,
    ) -> Result<RawResponse, CallError> {
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| self.protocol(&error))?;
        // The request reports the connection's errors too.
        tokio::spawn(async { drop(connection.await) });
        let response = sender.send_request(request).await.map_err(|error| self.protocol(&error))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_RESPONSE_BYTES).collect().await;
        let body = body.map_err(|error| self.protocol(&error))?.to_bytes();
        Ok(RawResponse { status: head.status, body })
    }

    fn protocol(&self, error: &dyn Display) -> CallError {
        CallError::Protocol { address: self.target.address.to_string(), error: error.to_string() }
    }
}
