//! The readiness of a registered socket, and the token that names it in epoll events.

use rustix::event::epoll;

/// A slot and its generation, so that a late event cannot reach the slot's next socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SocketToken {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl SocketToken {
    pub(super) fn from_u64(word: u64) -> Self {
        Self { index: word as u32, generation: (word >> 32) as u32 }
    }

    pub(super) fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }
}

/// What the kernel last reported about a socket, as a set of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Readiness(u8);

impl Readiness {
    pub(super) const NONE: Self = Self(0);
    pub(super) const READ: Self = Self(1);
    pub(super) const WRITE: Self = Self(2);
    pub(super) const READ_WRITE: Self = Self(3);
    /// The peer has ended its side, or the connection is gone: reads reach the end of file.
    pub(super) const ENDED: Self = Self(4);
    /// Nothing can be sent to the peer any more.
    pub(super) const BROKEN: Self = Self(8);

    /// Whether one of the bits of `what` is set.
    pub(super) fn has(self, what: Self) -> bool {
        self.0 & what.0 != 0
    }

    pub(super) fn remove(&mut self, what: Self) {
        self.0 &= !what.0;
    }

    pub(super) fn add(&mut self, events: epoll::EventFlags) {
        use epoll::EventFlags as E;
        if events.intersects(E::IN | E::RDHUP | E::HUP | E::ERR) {
            self.0 |= Self::READ.0;
        }
        if events.intersects(E::OUT | E::HUP | E::ERR) {
            self.0 |= Self::WRITE.0;
        }
        if events.intersects(E::RDHUP | E::HUP | E::ERR) {
            self.0 |= Self::ENDED.0;
        }
        if events.intersects(E::HUP | E::ERR) {
            self.0 |= Self::BROKEN.0;
        }
    }
}
