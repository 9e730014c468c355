//! The choice of the connections to evict.

use super::*;

const LIMIT: usize = 8;

fn network(address: &str) -> ConnectionOrigin {
    ConnectionOrigin::of(Some(address.parse().unwrap()))
}

async fn newcomers(
    connections: &Arc<Connections>,
    origin: ConnectionOrigin,
    count: usize,
) -> Vec<Arc<ConnectionSlot>> {
    let mut slots = Vec::new();
    for _ in 0..count {
        slots.push(connections.admit(origin).await);
        // Gives them different ages.
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    slots
}

fn respond(slots: &[Arc<ConnectionSlot>]) {
    for slot in slots {
        slot.note_response();
    }
}

/// Whether the connection was not evicted.
fn stays(slot: &Arc<ConnectionSlot>) -> bool {
    slot.occupied(&mut slot.connections.lock()).is_some()
}

fn stay(slots: &[Arc<ConnectionSlot>]) -> Vec<bool> {
    slots.iter().map(stays).collect()
}

#[tokio::test(start_paused = true)]
async fn newcomers_do_not_evict_operators() {
    let connections = Connections::new(LIMIT);
    let operators = newcomers(&connections, ConnectionOrigin::Local, 5).await;
    for operator in &operators {
        drop(operator.begin_request());
    }
    let newcomers = newcomers(&connections, ConnectionOrigin::Local, 10).await;
    respond(&newcomers);
    let _more = connections.admit(ConnectionOrigin::Local).await;
    assert_eq!(stay(&operators), [true; 5]);
    assert_eq!(stay(&newcomers[7..]), [false, true, true]);
}

#[tokio::test(start_paused = true)]
async fn a_response_that_anybody_gets_keeps_no_slot() {
    let connections = Connections::new(LIMIT);
    let held = newcomers(&connections, ConnectionOrigin::Local, LIMIT).await;
    respond(&held);
    // The oldest had the last response.
    held[0].note_response();
    let _more = connections.admit(ConnectionOrigin::Local).await;
    assert_eq!(stay(&held), [false, true, true, true, true, true, true, true]);
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_has_time_for_its_first_request() {
    let connections = Connections::new(LIMIT);
    let held = newcomers(&connections, ConnectionOrigin::Local, LIMIT).await;
    held[3].note_response();
    let began = Instant::now();
    let _more = connections.admit(ConnectionOrigin::Local).await;
    assert_eq!((stays(&held[3]), began.elapsed()), (false, Duration::ZERO));
    let _more = connections.admit(ConnectionOrigin::Local).await;
    assert!(!stays(&held[0]));
    assert!((Duration::from_millis(1)..FIRST_REQUEST_GRACE).contains(&began.elapsed()));
}

#[tokio::test(start_paused = true)]
async fn the_origin_with_the_most_connections_is_evicted_first() {
    let connections = Connections::new(LIMIT);
    let few = newcomers(&connections, network("192.0.2.1"), 2).await;
    let many = newcomers(&connections, network("192.0.2.2"), LIMIT - 2).await;
    respond(&few);
    respond(&many);
    let _more = newcomers(&connections, network("192.0.2.3"), 2).await;
    assert_eq!((stay(&few), &stay(&many)[..3]), (vec![true, true], &[false, false, true][..]));
}

#[tokio::test(start_paused = true)]
async fn among_operators_the_longest_idle_is_evicted() {
    let connections = Connections::new(LIMIT);
    let all = newcomers(&connections, ConnectionOrigin::Local, LIMIT).await;
    let mut asking: Vec<_> = all.iter().map(ConnectionSlot::begin_request).collect();
    drop(asking.remove(5));
    let newcomer = connections.admit(ConnectionOrigin::Local).await;
    assert_eq!(stay(&all), [true, true, true, true, true, false, true, true]);
    // A newcomer is evicted before any operator.
    let next = connections.admit(ConnectionOrigin::Local).await;
    assert!(!stays(&newcomer));
    // If all wait for responses, the one that has waited the longest is evicted.
    let _asking = next.begin_request();
    let _last = connections.admit(ConnectionOrigin::Local).await;
    assert!(!stays(&all[0]) && stays(&next));
}

#[test]
fn origins() {
    for (one, other) in [
        ("127.0.0.1", "127.8.9.10"),
        ("127.0.0.1", "::1"),
        ("127.0.0.1", "::ffff:127.0.0.2"),
        ("192.0.2.1", "::ffff:192.0.2.1"),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2"),
    ] {
        assert_eq!(network(one), network(other), "{one} {other}");
    }
    for (one, other) in [
        ("192.0.2.1", "192.0.2.2"),
        ("2001:db8:0:1::1", "2001:db8:0:2::1"),
        ("192.0.2.1", "127.0.0.1"),
    ] {
        assert_ne!(network(one), network(other), "{one} {other}");
    }
    assert_eq!(ConnectionOrigin::of(None), ConnectionOrigin::Local);
}
