//! Bans: by the operator, and by rates that ban.

mod api;
mod credentials;
mod fail2ban;
mod operator;
mod rates;
mod reloads;

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::{
    admin::http::{Told, ask, get},
    client::Client,
    harness::{Proxy, wait_for},
};

/// A connection from 127.0.0.x.
fn from(last: u8, to: SocketAddr) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    Client::on(TcpStream::from(socket))
}

/// What is answered to some bytes, up to so many: fewer if the connection is closed before.
fn answer(mut client: Client, bytes: &[u8], count: u64) -> Vec<u8> {
    // The proxy may have closed it already.
    let _ = client.stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = client.stream.take(count).read_to_end(&mut answer);
    answer
}

#[track_caller]
fn post(proxy: &Proxy, body: &Value) -> Told {
    let headers = "Content-Type: application/json\r\n";
    ask(proxy, "POST", "/api/v1/bans", headers, &body.to_string())
}

/// Bans one target; returns the warnings.
#[track_caller]
pub(crate) fn ban(proxy: &Proxy, kind: &str, value: &str, seconds: u32) -> Vec<Value> {
    let told =
        post(proxy, &json!({ "bans": [{ "kind": kind, "value": value, "for_s": seconds }] }));
    assert_eq!(told.status, 200, "{told:?}");
    told.json()["warnings"].as_array().unwrap().clone()
}

/// `kind value reason` of each ban in force.
fn bans(proxy: &Proxy) -> Vec<String> {
    let listed = get(proxy, "/api/v1/bans");
    let listed = listed["bans"].as_array().unwrap().iter();
    let word = |ban: &Value, name: &str| ban[name].as_str().unwrap().to_owned();
    listed.map(|ban| ["kind", "value", "reason"].map(|name| word(ban, name)).join(" ")).collect()
}

/// `kind value reason` of each line about a ban, once there are so many.
#[track_caller]
fn logged_bans(proxy: &Proxy, count: usize) -> Vec<String> {
    let lines = wait_for(&format!("{count} bans in the log"), || {
        let log = proxy.log();
        let lines: Vec<_> = log.into_iter().filter(|line| line["event"] == "ban").collect();
        (lines.len() >= count).then_some(lines)
    });
    let word = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
    let names = ["ban_kind", "ban_value", "ban_reason"];
    lines.iter().map(|line| names.map(|name| word(line, name)).join(" ")).collect()
}
