//! What a CONNECT says about its client, in compact form.

use serde::{Deserialize, Serialize};

use crate::proto::mqtt::{Connect, Version};

/// What the CONNECT says about the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClientInfo {
    /// Client ID and username in one string, which saves an allocation per session.
    names: Box<str>,
    id_len: u32,
    has_username: bool,
    pub(crate) version: Version,
    pub(crate) bridge: bool,
    pub(crate) has_password: bool,
    pub(crate) clean_start: bool,
    pub(crate) will: bool,
    /// In seconds; 0 means no keep alive.
    pub(crate) keep_alive: u16,
    /// In seconds (5.0 §3.1.2.11.2); `None` if the CONNECT does not have it.
    pub(crate) session_expiry: Option<u32>,
}

impl ClientInfo {
    pub(crate) fn new(connect: &Connect, packet: &[u8]) -> Self {
        let client_id = connect.client_id.text(packet);
        let username = connect.username.map(|username| username.text(packet));
        let mut names =
            String::with_capacity(client_id.len() + username.as_deref().map_or(0, str::len));
        names.push_str(&client_id);
        names.push_str(username.as_deref().unwrap_or_default());
        Self {
            names: names.into_boxed_str(),
            id_len: client_id.len() as u32,
            has_username: username.is_some(),
            version: connect.version,
            bridge: connect.bridge,
            has_password: connect.password.is_some(),
            clean_start: connect.clean_start,
            will: connect.will.is_some(),
            keep_alive: connect.keep_alive,
            session_expiry: connect.session_expiry,
        }
    }

    /// Forgets the username.
    pub(crate) fn hide_username(&mut self) {
        self.names = self.client_id().into();
        self.has_username = false;
    }

    pub(crate) fn client_id(&self) -> &str {
        self.names.get(..self.id_len as usize).unwrap_or_default()
    }

    pub(crate) fn username(&self) -> Option<&str> {
        self.has_username.then(|| self.names.get(self.id_len as usize..).unwrap_or_default())
    }
}
