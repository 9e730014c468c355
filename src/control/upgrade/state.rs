//! What a process hands over besides sessions.

use std::os::fd::OwnedFd;

use anyhow::{Context, anyhow};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    listener::{InheritedSockets, PreviousListener, PreviousListeners},
    upgrade::{
        HandedAdminListener, HandedInheritedSocket, HandedListener, ProcessState, decode, encode,
    },
};

/// The listening sockets that a process hands over, each kind with its descriptors in order.
#[derive(Debug, Default)]
pub(super) struct HandedSockets {
    pub(super) listeners: (Vec<HandedListener>, Vec<OwnedFd>),
    pub(super) inherited: (Vec<HandedInheritedSocket>, Vec<OwnedFd>),
    pub(super) admin: Option<(HandedAdminListener, Vec<OwnedFd>)>,
}

/// What a process hands over before the next one is ready.
#[derive(Debug, Default)]
pub(in crate::control) struct Handed {
    pub(super) sockets: HandedSockets,
    pub(super) state: Box<ProcessState>,
}

/// The sockets that the process before the upgrade has handed over.
pub(in crate::control) struct TakenSockets {
    pub(in crate::control) listeners: PreviousListeners,
    pub(in crate::control) inherited: InheritedSockets,
    /// The admin listener's address in the configuration, and its socket.
    pub(in crate::control) admin: Option<(String, OwnedFd)>,
}

impl HandedSockets {
    /// # Errors
    /// If there are fewer descriptors than promised, or others than listening sockets.
    pub(super) fn take(self) -> anyhow::Result<TakenSockets> {
        let Self { listeners, inherited, admin } = self;
        let mut sockets = listeners.1.into_iter();
        let take = |handed: HandedListener| {
            let HandedListener { name, bind, descriptors } = handed;
            let own: Vec<_> = sockets.by_ref().take(descriptors.into()).collect();
            Ok(PreviousListener::new(name, bind, own)?)
        };
        let listeners = listeners.0.into_iter().map(take).collect::<anyhow::Result<_>>()?;
        let names = inherited.0.into_iter().map(|socket| socket.name);
        let inherited = InheritedSockets::handed(names.zip(inherited.1).collect());
        let admin = admin.and_then(|(admin, mut own)| Some((admin.bind, own.pop()?)));
        Ok(TakenSockets {
            listeners: PreviousListeners(listeners),
            inherited: inherited.context("a socket of the service manager")?,
            admin,
        })
    }
}

/// Encodes one owner's part of the state.
///
/// # Errors
/// Not expected: the values of this program can be encoded.
pub(super) fn part<T: Serialize>(value: &T) -> Result<bytes::Bytes, String> {
    encode(value).map_err(|error| format!("cannot encode the state: {error}"))
}

/// Decodes one owner's part; an empty one is the default.
///
/// # Errors
/// If it is not of this type: another version may have encoded it.
pub(super) fn from_part<T: DeserializeOwned + Default>(
    name: &str,
    part: &[u8],
) -> anyhow::Result<T> {
    if part.is_empty() {
        return Ok(T::default());
    }
    decode(part).map_err(|error| anyhow!("cannot read the {name} of the process before: {error}"))
}
