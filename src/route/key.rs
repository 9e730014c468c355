//! What of a client is hashed.

/// What becomes of a client that gave no client ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptyClientId {
    LeastConnections,
    Username,
    SourceIp,
    Reject,
}

/// A parsed `balance.key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTemplate;

impl std::str::FromStr for KeyTemplate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "tls_cn" | "sni" => Err(format!("{text} is not available yet in this version")),
            "client_id" | "username" | "source_ip" => Ok(Self),
            _ if text.contains("${") => Ok(Self),
            _ => Err(format!("{text:?} is no key")),
        }
    }
}
