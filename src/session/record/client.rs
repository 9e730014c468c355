//! What a CONNECT said of its client, kept small.

use crate::proto::mqtt::{Connect, Version};

/// What the CONNECT said.
pub(in crate::session) struct Client {
    /// Client ID and username, one behind the other: one allocation less a session.
    names: Box<str>,
    id_len: u32,
    has_username: bool,
    pub(in crate::session) version: Version,
    pub(in crate::session) bridge: bool,
    pub(in crate::session) has_password: bool,
    pub(in crate::session) clean_start: bool,
    pub(in crate::session) will: bool,
    pub(in crate::session) keep_alive: u16,
    pub(in crate::session) session_expiry: Option<u32>,
}

impl Client {
    pub(in crate::session) fn new(connect: &Connect, packet: &[u8]) -> Self {
        let client_id = connect.client_id.of(packet);
        let username = connect.username.map(|username| username.of(packet));
        let mut names = String::with_capacity(client_id.len() + username.map_or(0, str::len));
        names.push_str(client_id);
        names.push_str(username.unwrap_or_default());
        Self {
            names: names.into_boxed_str(),
            id_len: client_id.len() as u32,
            has_username: username.is_some(),
            version: connect.version,
            bridge: connect.bridge,
            has_password: connect.has_password,
            clean_start: connect.clean_start,
            will: connect.will.is_some(),
            keep_alive: connect.keep_alive,
            session_expiry: connect.session_expiry,
        }
    }

    pub(in crate::session) fn client_id(&self) -> &str {
        self.names.get(..self.id_len as usize).unwrap_or_default()
    }

    pub(in crate::session) fn username(&self) -> Option<&str> {
        self.has_username.then(|| self.names.get(self.id_len as usize..).unwrap_or_default())
    }
}
