//! Both directions of a relay in a form that another process can continue.

use std::io;

use serde::{Deserialize, Serialize};

use super::{
    flow::{Flow, Unsent},
    flows::Flows,
    packets::{BrokerPackets, ClientPackets},
};
use crate::{
    labels::EndBy,
    net::{Pipes, TurnTicket},
};

/// [`Flows`] between two steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FlowsState {
    inbound: FlowState,
    outbound: FlowState,
    client_packets: Option<ClientPackets>,
    broker_packets: Option<BrokerPackets>,
    first_to_end: Option<EndBy>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FlowState {
    /// Data that the receiver has not taken: at most what a pipe holds.
    unsent: Vec<u8>,
    full_reads: u8,
    ended: bool,
    held_back: bool,
}

impl Flows {
    /// What another process needs to go on. Bytes that are in a pipe are taken into memory first.
    ///
    /// # Errors
    /// A pipe cannot be read: bytes of the session are lost.
    pub(crate) fn capture(&mut self, pipes: &Pipes) -> io::Result<FlowsState> {
        let Self {
            inbound,
            outbound,
            client_packets,
            broker_packets,
            // The place in a queue of this worker.
            ticket: _,
            first_to_end,
            watching: _,
            // Only of a session that ends.
            passes_reset: _,
        } = self;
        Ok(FlowsState {
            inbound: inbound.capture(pipes)?,
            outbound: outbound.capture(pipes)?,
            client_packets: client_packets.clone(),
            broker_packets: broker_packets.clone(),
            first_to_end: *first_to_end,
        })
    }

    /// Continues what another process has [captured](Self::capture); `None` if no relay can be in
    /// this state.
    pub(crate) fn restore(state: FlowsState) -> Option<Self> {
        let FlowsState { inbound, outbound, client_packets, broker_packets, first_to_end } = state;
        let is_possible = client_packets.as_ref().is_none_or(ClientPackets::is_possible)
            && broker_packets.as_ref().is_none_or(BrokerPackets::is_possible);
        is_possible.then(|| Self {
            inbound: Flow::restore(inbound),
            outbound: Flow::restore(outbound),
            client_packets,
            broker_packets,
            ticket: TurnTicket::default(),
            first_to_end,
            watching: false,
            passes_reset: false,
        })
    }
}

impl Flow {
    fn capture(&mut self, pipes: &Pipes) -> io::Result<FlowState> {
        let unsent = match std::mem::take(&mut self.unsent) {
            Unsent::Nothing => Vec::new(),
            Unsent::Bytes(unsent) => unsent.bytes[unsent.sent..].to_vec(),
            Unsent::Pipe(mut pipe) => {
                let bytes = pipe.take_all()?;
                pipes.release(*pipe);
                bytes
            }
        };
        // If the session stays, it goes on with them.
        self.store(&unsent);
        let Self { unsent: _, full_reads, ended, held_back } = self;
        Ok(FlowState { unsent, full_reads: *full_reads, ended: *ended, held_back: *held_back })
    }

    fn restore(state: FlowState) -> Self {
        let FlowState { unsent, full_reads, ended, held_back } = state;
        let mut flow = Self { full_reads, ended, held_back, ..Self::default() };
        flow.store(&unsent);
        flow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is captured is also what the session goes on with if it stays.
    #[test]
    fn unsent_bytes_are_kept_here_and_there() {
        let mut flow = Flow { full_reads: 1, held_back: true, ..Flow::default() };
        flow.store(b"sent, and the rest");
        let Unsent::Bytes(unsent) = &mut flow.unsent else { panic!("not stored") };
        unsent.sent = 6;
        let mut flows = Flows::new((None, None));
        flows.inbound = flow;
        flows.outbound.store(b"the other direction");
        flows.outbound.ended = true;
        flows.first_to_end = Some(EndBy::Upstream);
        let pipes = Pipes::default();
        let captured = flows.capture(&pipes).unwrap();
        assert_eq!(captured.inbound.unsent, b"and the rest");
        assert_eq!(captured.outbound.unsent, b"the other direction");
        assert_eq!(flows.capture(&pipes).unwrap(), captured);
        assert_eq!(flows.unsent_bytes(), 12 + 19);
        let mut restored = Flows::restore(captured.clone()).unwrap();
        assert_eq!(restored.capture(&pipes).unwrap(), captured);
    }
}
