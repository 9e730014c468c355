//! What happens to a fleet, one event after the other, and what came of it.

use crate::{
    proxy::BrokerId,
    world::{STEPS_PER_SECOND, World},
};

/// How many of each there are.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) proxies: usize,
    pub(crate) clients: usize,
}

/// Each event has so long to show its effects, in seconds.
const SPAN: u32 = 600;
const MINUTE: u32 = 60;

/// So many clients stand for all where proxies are compared with each other.
const SAMPLE: usize = 10_000;

/// What an event came to.
#[derive(Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) event: &'static str,
    /// Clients whose home is another one after it.
    pub(crate) moved: usize,
    /// Of those, clients that went from one broker to another although both served all the time.
    pub(crate) needless: usize,
    /// Sessions that brokers or proxies ended.
    pub(crate) ended: u32,
    /// CONNECTs that no broker was found for.
    pub(crate) refused: u32,
    /// Sessions of the busiest broker at any time, over an even share.
    pub(crate) peak: f64,
    pub(crate) after_a_minute: Spread,
    pub(crate) at_the_end: Spread,
    /// Seconds in which not all proxies agreed.
    pub(crate) disagreed: u32,
    /// The largest part of the clients whose home they did not agree on.
    pub(crate) disputed: f64,
}

/// Sessions of the busiest and the idlest broker that is to serve, over an even share.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Spread {
    pub(crate) busiest: f64,
    pub(crate) idlest: f64,
}

/// A world, and how it is while all is settled.
pub(crate) struct Scenario<'a> {
    pub(crate) world: World<'a>,
    /// Of each client; empty before the first event.
    pub(crate) homes: Vec<BrokerId>,
    /// By broker, whether it is to serve.
    serves: Vec<bool>,
}

impl<'a> Scenario<'a> {
    pub(crate) fn new(world: World<'a>, serves: &[bool]) -> Self {
        Self { world, homes: Vec::new(), serves: serves.to_vec() }
    }

    /// `act` is told each second of the event, from 0 on; after it, `serves` are to serve.
    pub(crate) fn event(
        &mut self,
        event: &'static str,
        serves: &[bool],
        act: impl Fn(&mut World<'a>, u32),
    ) -> Row {
        let before = std::mem::replace(&mut self.serves, serves.to_vec());
        (self.world.ended, self.world.refused) = (0, 0);
        let mut disputes = Disputes::default();
        let (mut peak, mut after_a_minute) = (0.0_f64, Spread::default());
        for second in 0..SPAN {
            act(&mut self.world, second);
            for _ in 0..STEPS_PER_SECOND {
                self.world.advance();
            }
            disputes.look(&self.world);
            let spread = self.spread();
            peak = peak.max(spread.busiest);
            if second + 1 == MINUTE {
                after_a_minute = spread;
            }
        }
        self.assert_settled();
        let homes = self.world.homes(0, 1);
        let moves = || self.homes.iter().zip(&homes).filter(|(from, to)| from != to);
        let serves_on = |&id: &BrokerId| before[usize::from(id)] && serves[usize::from(id)];
        let row = Row {
            event,
            moved: moves().count(),
            needless: moves().filter(|(from, to)| serves_on(from) && serves_on(to)).count(),
            ended: self.world.ended,
            refused: self.world.refused,
            peak,
            after_a_minute,
            at_the_end: self.spread(),
            disagreed: disputes.seconds,
            disputed: disputes.most,
        };
        self.homes = homes;
        row
    }

    fn spread(&self) -> Spread {
        let sessions = self.world.sessions();
        let serving = || sessions.iter().zip(&self.serves).filter(|(_, serves)| **serves);
        let even = self.world.clients() as f64 / serving().count() as f64;
        let (least, most) = serving().fold((u32::MAX, 0), |(least, most), (sessions, _)| {
            (least.min(*sessions), most.max(*sessions))
        });
        Spread { busiest: f64::from(most) / even, idlest: f64::from(least) / even }
    }

    /// All proxies see the same again, and what they see is what there is.
    fn assert_settled(&self) {
        let truth: Vec<_> = self.serves.iter().map(|&serves| f64::from(u8::from(serves))).collect();
        for view in self.world.views() {
            assert_eq!(view, truth);
        }
        let homes = sample(&self.world, 0);
        for proxy in 1..self.world.proxies.len() {
            assert!(sample(&self.world, proxy) == homes, "proxy {proxy} has its own mind");
        }
    }
}

fn sample(world: &World<'_>, proxy: usize) -> Vec<BrokerId> {
    world.homes(proxy, (world.clients() / SAMPLE).max(1))
}

/// Where proxies see the same brokers differently.
#[derive(Default)]
struct Disputes {
    /// For how long they did.
    seconds: u32,
    /// The largest part of the clients whose home was in dispute.
    most: f64,
}

impl Disputes {
    /// To ask for homes takes long; that they differ shows at once, how many do every so often.
    const EVERY: u32 = 10;

    /// To be called each second.
    fn look(&mut self, world: &World<'_>) {
        let views = world.views();
        if views.iter().all(|view| *view == views[0]) {
            return;
        }
        if self.seconds.is_multiple_of(Self::EVERY) {
            let is_new = |(proxy, view)| (!views[..proxy].contains(view)).then_some(proxy);
            let proxies: Vec<_> = views.iter().enumerate().filter_map(is_new).collect();
            let homes: Vec<_> = proxies.into_iter().map(|proxy| sample(world, proxy)).collect();
            let clients = homes[0].len();
            let disputed = (0..clients)
                .filter(|&client| homes.iter().any(|other| other[client] != homes[0][client]))
                .count();
            self.most = self.most.max(disputed as f64 / clients as f64);
        }
        self.seconds += 1;
    }
}
