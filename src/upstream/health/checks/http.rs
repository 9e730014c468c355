//! The HTTP probe: one GET (RFC 9110) whose status code decides.

use std::net::SocketAddr;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Request,
    body::Bytes,
    client::conn::http1,
    header::{ACCEPT, AUTHORIZATION, CONNECTION, HOST, HeaderValue, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use tokio::time::timeout_at;

use super::{
    connect::{ProbeDeadline, ProbeStream},
    error::ProbeError,
};
use crate::{config::Address, upstream::task::AbortOnDrop};

const USER_AGENT_VALUE: &str = concat!("mqtt-lb/", env!("CARGO_PKG_VERSION"));

/// The minimum that hyper allows (8 KiB): the response to a probe is a line and a few headers.
const MAX_HEAD_BYTES: usize = 8 * 1024;

/// Bytes of a body that are read and ignored, so that a typical response ends in an orderly close.
const MAX_BODY_BYTES: usize = 16 * 1024;

pub(crate) type GetRequest = Request<Empty<Bytes>>;

/// A request for `path`, sent to `to`, an address of the broker that is configured as `address`.
pub(crate) fn get(
    address: &Address,
    to: SocketAddr,
    path: &str,
    login: Option<(&str, &str)>,
) -> Result<GetRequest, ProbeError> {
    let host = match address {
        Address::Host(name, _) => format!("{name}:{}", to.port()),
        Address::Ip(_) | Address::Unix(_) => to.to_string(),
    };
    let mut request = Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, USER_AGENT_VALUE)
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close");
    if let Some((username, password)) = login {
        // RFC 7617.
        let basic = BASE64.encode(format!("{username}:{password}"));
        let mut value =
            HeaderValue::try_from(format!("Basic {basic}")).map_err(hyper::http::Error::from)?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    Ok(request.body(Empty::new())?)
}

/// Sends `request` and returns the status code of the response.
pub(crate) async fn exchange(
    stream: ProbeStream,
    request: GetRequest,
    deadline: ProbeDeadline,
) -> Result<u16, ProbeError> {
    let (mut sender, connection) = http1::Builder::new()
        // In the case that most clients use: health endpoints are not always full web servers.
        .title_case_headers(true)
        .max_buf_size(MAX_HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await?;
    let mut connection = AbortOnDrop::spawn(async move {
        // An error during the exchange also fails the request; any other error comes after it.
        let _ = connection.await;
    });
    let answer = timeout_at(deadline.at, sender.send_request(request)).await;
    let answer = answer.map_err(|_| ProbeError::NoHttp(deadline.timeout))??;
    let status = answer.status().as_u16();
    let rest = async {
        let _ = Limited::new(answer.into_body(), MAX_BODY_BYTES).collect().await;
        connection.ended().await;
    };
    let _ = timeout_at(deadline.at, rest).await;
    Ok(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_the_configured_one() {
        let six = "[::1]:1883".parse().unwrap();
        for (address, to, host) in [
            (Address::Host("emqx-0.emqx".into(), 1883), "10.0.0.7:8081", "emqx-0.emqx:8081"),
            (Address::Ip("10.0.0.7:1883".parse().unwrap()), "10.0.0.7:8081", "10.0.0.7:8081"),
            (Address::Ip(six), "[::1]:8081", "[::1]:8081"),
        ] {
            let request = get(&address, to.parse().unwrap(), "/", None).unwrap();
            assert_eq!(request.headers()[HOST], host);
        }
    }

    /// Every kind of path that the configuration accepts.
    #[test]
    fn a_path_is_sent_as_it_is_configured() {
        let address = "10.0.0.7:8081".parse().unwrap();
        for path in ["/", "//a", "/http://a:1/", "/aZ9-._~!$&'()*+,;=:@/%20?a=%23&b=/?"] {
            let request = get(&Address::Ip(address), address, path, None).unwrap();
            assert_eq!(request.uri().to_string(), path);
            assert_eq!(request.uri().host(), None);
        }
    }

    /// The example of RFC 7617, section 2.
    #[test]
    fn a_login() {
        let address = "10.0.0.7:8081".parse().unwrap();
        let login = Some(("Aladdin", "open sesame"));
        let request = get(&Address::Ip(address), address, "/", login).unwrap();
        assert_eq!(request.headers()[AUTHORIZATION], "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(!format!("{request:?}").contains("QWxh"));
    }
}
