//! Who stays, and who leaves.

use super::*;

const MOST: usize = 8;

fn network(address: &str) -> Source {
    Source::of(Some(address.parse().unwrap()))
}

async fn newcomers(places: &Arc<Places>, source: Source, count: usize) -> Vec<Arc<Place>> {
    let mut taken = Vec::new();
    for _ in 0..count {
        taken.push(places.take(source).await);
        // So that one is the oldest.
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    taken
}

fn answer(places: &[Arc<Place>]) {
    for place in places {
        place.answered();
    }
}

/// Whether it has still its place.
fn stays(place: &Arc<Place>) -> bool {
    place.own(&mut place.places.taken()).is_some()
}

fn stay(places: &[Arc<Place>]) -> Vec<bool> {
    places.iter().map(stays).collect()
}

#[tokio::test(start_paused = true)]
async fn newcomers_leave_the_places_of_operators_alone() {
    let places = Places::new(MOST);
    let operators = newcomers(&places, Source::Local, 5).await;
    for operator in &operators {
        drop(operator.operator_asks());
    }
    let newcomers = newcomers(&places, Source::Local, 10).await;
    answer(&newcomers);
    let _more = places.take(Source::Local).await;
    assert_eq!(stay(&operators), [true; 5]);
    assert_eq!(stay(&newcomers[7..]), [false, true, true]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_anybody_gets_keeps_no_place() {
    let places = Places::new(MOST);
    let held = newcomers(&places, Source::Local, MOST).await;
    answer(&held);
    // The oldest has asked last.
    held[0].answered();
    let _more = places.take(Source::Local).await;
    assert_eq!(stay(&held), [false, true, true, true, true, true, true, true]);
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_has_time_for_its_first_request() {
    let places = Places::new(MOST);
    let held = newcomers(&places, Source::Local, MOST).await;
    held[3].answered();
    let began = Instant::now();
    let _more = places.take(Source::Local).await;
    assert_eq!((stays(&held[3]), began.elapsed()), (false, Duration::ZERO));
    let _more = places.take(Source::Local).await;
    assert!(!stays(&held[0]));
    assert!((Duration::from_millis(1)..FIRST_REQUEST).contains(&began.elapsed()));
}

#[tokio::test(start_paused = true)]
async fn those_of_the_address_with_the_most_leave_first() {
    let places = Places::new(MOST);
    let few = newcomers(&places, network("192.0.2.1"), 2).await;
    let many = newcomers(&places, network("192.0.2.2"), MOST - 2).await;
    answer(&few);
    answer(&many);
    let _more = newcomers(&places, network("192.0.2.3"), 2).await;
    assert_eq!((stay(&few), &stay(&many)[..3]), (vec![true, true], &[false, false, true][..]));
}

#[tokio::test(start_paused = true)]
async fn of_operators_the_one_that_asked_first_leaves() {
    let places = Places::new(MOST);
    let all = newcomers(&places, Source::Local, MOST).await;
    let mut asking: Vec<_> = all.iter().map(Place::operator_asks).collect();
    drop(asking.remove(5));
    let newcomer = places.take(Source::Local).await;
    assert_eq!(stay(&all), [true, true, true, true, true, false, true, true]);
    // Another newcomer has its place, while there is one.
    let next = places.take(Source::Local).await;
    assert!(!stays(&newcomer));
    // Where all wait for answers, the one that has waited for the longest leaves.
    let _asking = next.operator_asks();
    let _last = places.take(Source::Local).await;
    assert!(!stays(&all[0]) && stays(&next));
}

#[test]
fn sources() {
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
    assert_eq!(Source::of(None), Source::Local);
}
