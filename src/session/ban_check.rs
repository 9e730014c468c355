//! Whether a client is banned, by what is known of it.

use super::{context::WorkerContext, record::Record};
use crate::limits::BanInForce;

/// The ban of the client's address, or of a client ID or username that it sent, that its broker was
/// sent, or that it was assigned.
pub(crate) fn find_ban(context: &WorkerContext, record: &Record) -> Option<BanInForce> {
    let (bans, now) = (&context.limiter.rates.bans, context.reactor.now());
    let by_ip = record.client_ip().and_then(|ip| bans.find_ip(ip, now));
    if by_ip.is_some() {
        return by_ip;
    }
    let for_broker = record.client.as_ref().map(|client| (client.client_id(), client.username()));
    let sent = record.sent_names().filter(|sent| Some(*sent) != for_broker);
    let names = || sent.into_iter().chain(for_broker);
    let ids = names().map(|(id, _)| id).chain(record.assigned_client_id());
    let by_client_id = ids.filter(|id| !id.is_empty()).find_map(|id| bans.find_client_id(id, now));
    let by_username = || names().find_map(|(_, name)| bans.find_username(name?, now));
    by_client_id.or_else(by_username)
}
