//! What the admin listener says.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

use crate::{
    Outcome,
    device::{WITHIN, until_right},
};

/// The longest that an answer may take: an upgrade starts the program twice.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// An admin listener.
#[derive(Clone, Copy)]
pub(crate) struct Api(pub(crate) SocketAddr);

/// A broker, as the API has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BrokerView {
    pub(crate) pool: String,
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) state: String,
    pub(crate) up: bool,
    pub(crate) weight: u64,
    pub(crate) configured_weight: u64,
    pub(crate) sessions: u64,
    /// All that does not depend on who is connected.
    pub(crate) standing: Value,
}

/// A session, as the API has it.
pub(crate) struct SessionView {
    pub(crate) client_id: String,
    pub(crate) pool: String,
    pub(crate) upstream: String,
}

/// Metrics by family and labels, such as `{pool="p"}`.
pub(crate) type Samples = BTreeMap<(String, String), f64>;

impl Api {
    fn ask(self, head: &str, body: &str) -> Outcome<(u16, String)> {
        let failed = |error: std::io::Error| format!("{head}: {error}");
        let mut stream = TcpStream::connect_timeout(&self.0, ANSWER_TIMEOUT).map_err(failed)?;
        let _ = stream.set_read_timeout(Some(ANSWER_TIMEOUT));
        let length = body.len();
        write!(
            stream,
            "{head} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .map_err(failed)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(failed)?;
        let (head_of, body) = answer.split_once("\r\n\r\n").ok_or(format!("{head}: {answer}"))?;
        let code = head_of.split(' ').nth(1).and_then(|code| code.parse().ok());
        Ok((code.ok_or(format!("{head}: {head_of}"))?, body.to_owned()))
    }

    pub(crate) fn code_of(self, path: &str) -> Outcome<u16> {
        self.ask(&format!("GET {path}"), "").map(|(code, _)| code)
    }

    fn json(self, path: &str) -> Outcome<Value> {
        let (code, body) = self.ask(&format!("GET {path}"), "")?;
        let value = serde_json::from_str(&body).map_err(|error| format!("{path}: {error}"))?;
        if code == 200 { Ok(value) } else { Err(format!("{path}: {code} {body}")) }
    }

    /// The number of the configuration in force.
    pub(crate) fn generation(self) -> Outcome<u64> {
        Ok(self.json("/api/v1/status")?["config"]["generation"].as_u64().unwrap_or(0))
    }

    /// Where a listener listens.
    pub(crate) fn listener(self, name: &str) -> Outcome<SocketAddr> {
        let status = self.json("/api/v1/status")?;
        let listeners = status["listeners"].as_array();
        let of_name = listeners.and_then(|all| all.iter().find(|one| one["name"] == name));
        let bind = of_name.and_then(|one| one["bind"].as_str()?.parse().ok());
        bind.ok_or_else(|| format!("no listener {name} in {status}"))
    }

    pub(crate) fn brokers(self) -> Outcome<Vec<BrokerView>> {
        let answer = self.json("/api/v1/upstreams")?;
        let pools = answer["pools"].as_array().cloned().unwrap_or_default();
        Ok(pools.iter().flat_map(brokers_of).collect())
    }

    /// The broker of the pool `subject` with this name.
    pub(crate) fn broker(self, name: &str) -> Outcome<BrokerView> {
        let mut all = self.brokers()?.into_iter();
        all.find(|broker| broker.pool == crate::file::POOL && broker.name == name)
            .ok_or_else(|| format!("the pool has no broker {name}"))
    }

    /// Waits until a broker of the pool stands like this.
    pub(crate) fn wait_status(self, broker: &str, status: &str) -> Outcome {
        until_right(WITHIN, || {
            let is = self.broker(broker)?.status;
            if is == status { Ok(()) } else { Err(format!("{broker} is {is}, not {status}")) }
        })
    }

    /// Whether a pool says that it fails open.
    pub(crate) fn failing_open(self) -> Outcome<BTreeMap<String, bool>> {
        let answer = self.json("/api/v1/upstreams")?;
        let pools = answer["pools"].as_array().cloned().unwrap_or_default();
        let of = |pool: &Value| (text(&pool["name"]), pool["failing_open"] == true);
        Ok(pools.iter().map(of).collect())
    }

    pub(crate) fn patch(self, broker: &str, body: &str) -> Outcome {
        let path = format!("/api/v1/pools/{}/upstreams/{broker}", crate::file::POOL);
        let (code, answer) = self.ask(&format!("PATCH {path}"), body)?;
        if code == 200 { Ok(()) } else { Err(format!("PATCH {path}: {code} {answer}")) }
    }

    /// Upgrades to the same program. Returns the process that has taken over.
    pub(crate) fn upgrade(self) -> Outcome<u32> {
        let (code, answer) = self.ask("POST /api/v1/upgrade", "{}")?;
        let upgraded: Value = serde_json::from_str(&answer).unwrap_or_default();
        let pid = upgraded["pid"].as_u64().filter(|_| code == 200);
        pid.and_then(|pid| pid.try_into().ok()).ok_or(format!("upgrade: {code} {answer}"))
    }

    /// Sessions that could not move to the process that answers, by reason.
    pub(crate) fn stayed(self) -> Outcome<Value> {
        Ok(self.json("/api/v1/status")?["last_upgrade"]["previous"]["stayed"].clone())
    }

    pub(crate) fn sessions(self) -> Outcome<Vec<SessionView>> {
        let answer = self.json("/api/v1/sessions?limit=1000")?;
        let all = answer["sessions"].as_array().cloned().unwrap_or_default();
        let view = |one: &Value| SessionView {
            client_id: text(&one["client_id"]),
            pool: text(&one["pool"]),
            upstream: text(&one["upstream"]),
        };
        Ok(all.iter().map(view).collect())
    }

    /// How many sessions of a pool were ended by another device with their client ID.
    pub(crate) fn duplicates(self, pool: &str) -> Outcome<u64> {
        let answer = self.json("/api/v1/duplicates")?;
        let all = answer["duplicates"].as_array().cloned().unwrap_or_default();
        let of_pool = all.iter().filter(|one| one["pool"] == pool);
        Ok(of_pool.filter_map(|one| one["count"].as_u64()).sum())
    }

    /// The broker that a client would be given now.
    pub(crate) fn home(self, pool: &str, client_id: &str) -> Outcome<String> {
        let answer = self.json(&format!("/api/v1/route?pool={pool}&client_id={client_id}"))?;
        Ok(text(&answer["pools"][0]["goes_to"]))
    }

    pub(crate) fn samples(self) -> Outcome<Samples> {
        let (_, text) = self.ask("GET /metrics", "")?;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            let (family, labels) = name.split_once('{').unwrap_or((name, "}"));
            Some(((family.to_owned(), format!("{{{labels}")), value.parse().ok()?))
        };
        Ok(lines.filter_map(sample).collect())
    }
}

fn brokers_of(pool: &Value) -> Vec<BrokerView> {
    let of = |broker: &Value| {
        let mut standing = broker.clone();
        if let Value::Object(keys) = &mut standing {
            keys.retain(|key, _| {
                !["sessions", "connacks", "tries", "bytes_in", "bytes_out"].contains(&&**key)
            });
            keys.insert("failing_open".to_owned(), pool["failing_open"].clone());
        }
        BrokerView {
            pool: text(&pool["name"]),
            name: text(&broker["name"]),
            status: text(&broker["status"]),
            state: text(&broker["state"]),
            up: broker["up"] == true,
            weight: broker["weight"].as_u64().unwrap_or(0),
            configured_weight: broker["configured_weight"].as_u64().unwrap_or(0),
            sessions: broker["sessions"].as_u64().unwrap_or(0),
            standing,
        }
    };
    pool["upstreams"].as_array().map(|all| all.iter().map(of).collect()).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The value of a label in `{a="x",b="y"}`.
pub(crate) fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let start = labels.find(&format!("{name}=\""))? + name.len() + 2;
    labels[start..].split('"').next()
}

/// The sum of a family's samples, those of one `label` if it is said.
pub(crate) fn sum(samples: &Samples, family: &str, of: Option<(&str, &str)>) -> f64 {
    let name = format!("mqtt_lb_{family}");
    samples
        .iter()
        .filter(|((known, labels), _)| {
            *known == name && of.is_none_or(|(key, value)| label(labels, key) == Some(value))
        })
        .map(|(_, value)| value)
        .sum()
}
