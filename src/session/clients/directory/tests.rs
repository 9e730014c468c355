use super::*;
use crate::{
    session::session_id::SESSION_ID_BITS,
    template::{ClientFields, Variable},
};

fn nothing() -> TenantFields {
    TenantFields(Arc::default())
}

fn username() -> TenantFields {
    TenantFields([Variable::Username].into())
}

fn directory() -> (ClientDirectory, Arc<WorkerSignal>) {
    let signal = Arc::new(WorkerSignal::default());
    (ClientDirectory::new(2, signal.clone()), signal)
}

/// Odd sessions are on worker 1.
fn session(n: u64) -> u64 {
    (n % 2) << SESSION_ID_BITS | n
}

fn entry(n: u64, broker: u64, username: &str) -> DirectoryEntry {
    let (username, client_id) = (Some(username), "me");
    let client = ClientFields { client_id, username, ..ClientFields::default() };
    let tenant = TenantHash::new(&client);
    DirectoryEntry { session_id: session(n), broker, slot: n as u32 + 100, tenant }
}

fn numbers(entries: &[DirectoryEntry]) -> Vec<u32> {
    entries.iter().map(|entry| entry.slot - 100).collect()
}

/// What a claim by a session on that broker returns.
fn claim(directory: &ClientDirectory, n: u64, broker: u64) -> Vec<u32> {
    let client = ClientHash::new(0, "me");
    numbers(&directory.claim(client, entry(n, broker, ""), &nothing()))
}

#[test]
fn an_entry_is_small() {
    assert_eq!(size_of::<(u64, DirectoryEntry)>(), 32);
}

#[test]
fn a_claim_returns_every_older_session_on_another_broker() {
    let (directory, _) = directory();
    let client = ClientHash::new(0, "me");
    assert_eq!(claim(&directory, 1, 7), [0_u32; 0]);
    assert_eq!(claim(&directory, 2, 7), [0_u32; 0], "on the same broker");
    let pool = directory.claim(ClientHash::new(1, "me"), entry(3, 8, ""), &nothing());
    assert!(pool.is_empty(), "of another pool");
    let id = directory.claim(ClientHash::new(0, "you"), entry(4, 8, ""), &nothing());
    assert!(id.is_empty(), "of another client");
    assert_eq!(claim(&directory, 5, 8), [1, 2], "the one that the first claim returned as well");
    assert_eq!(claim(&directory, 6, 7), [5], "none on its own broker");
    directory.release(client, session(2));
    assert_eq!(claim(&directory, 7, 8), [1, 6]);
    directory.release(client, session(7));
    directory.release(client, session(1));
    directory.release(client, session(99));
    assert_eq!(numbers(&directory.find(client, 9).unwrap()), [6, 5]);
    directory.release(client, session(5));
    directory.release(client, session(6));
    assert_eq!(claim(&directory, 8, 9), [0_u32; 0]);
}

#[test]
fn tenants_that_share_an_id_do_not_affect_each_other() {
    let (directory, _) = directory();
    let client = ClientHash::new(0, "me");
    let claim = |n, broker, username, fields: TenantFields| {
        numbers(&directory.claim(client, entry(n, broker, username), &fields))
    };
    assert_eq!(claim(1, 7, "anna", username()), [0_u32; 0]);
    assert_eq!(claim(2, 8, "bert", username()), [0_u32; 0]);
    assert_eq!(claim(3, 8, "anna", username()), [1]);
    // All are found by the ID that they share, unless there are too many.
    assert_eq!(numbers(&directory.find(client, 3).unwrap()), [3, 2, 1]);
    assert!(directory.find(client, 2).is_none());
    // The key is read at the claim and not stored.
    assert_eq!(claim(4, 9, "carl", nothing()), [1, 2, 3]);
}

#[test]
fn workers_are_told_of_their_own_sessions() {
    let (directory, signal) = directory();
    let older = [entry(1, 7, ""), entry(2, 7, ""), entry(3, 7, "")];
    let client = ClientFields { client_id: "me", ..ClientFields::default() };
    let newer = ClientIdentity::new(5, &client, &nothing());
    directory.take_over(&older, newer);
    assert_eq!(signal.count(), 1);
    for (worker, wanted) in [(0, &[2][..]), (1, &[1, 3])] {
        let notices = directory.take_notices(worker);
        let told: Vec<_> = notices.iter().map(|notice| u64::from(notice.slot) - 100).collect();
        assert_eq!(told, wanted);
        assert!(notices.iter().zip(wanted).all(|(notice, n)| notice.session_id == session(*n)));
        let is_newer = |reason: &TakeoverReason| matches!(reason, TakeoverReason::OnOtherBroker(newer) if newer.is(5, &client, &nothing()));
        assert!(notices.iter().all(|notice| is_newer(&notice.reason)));
        assert!(directory.take_notices(worker).is_empty());
    }
}

#[test]
fn the_capacity_of_a_storm_is_freed() {
    let (directory, _) = directory();
    let many: Vec<_> = (0..100_000).map(|n| (n, ClientHash::new(0, &n.to_string()))).collect();
    for &(n, client) in &many {
        directory.claim(client, entry(n, 1, ""), &nothing());
    }
    for &(n, client) in &many {
        directory.release(client, session(n));
    }
    let capacity: usize =
        directory.stripes.iter().map(|stripe| stripe.lock().unwrap().newest.capacity()).sum();
    assert!(capacity <= STRIPES * 1800, "capacity {capacity}");
    assert!(directory.stripes.iter().all(|stripe| stripe.lock().unwrap().older.is_empty()));
}
