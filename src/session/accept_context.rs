//! What connections take from their listener at accept.

use std::{rc::Rc, sync::Arc};

use super::record::ListenerRef;
use crate::listener::ListenerSettings;

/// What a connection takes from its listener at accept. Its session keeps only a [`ListenerRef`].
pub(crate) struct AcceptContext {
    /// Of clients for which no rule holds.
    pub(crate) listener: Rc<ListenerRef>,
    /// Of the clients of each rule.
    pub(crate) rules: Box<[Rc<ListenerRef>]>,
    pub(crate) settings: Arc<ListenerSettings>,
}
