//! First in, first out: a hit changes nothing, so hits are cheapest.
//!
//! For values that are all used about as often; otherwise `w-tinylfu` keeps more of what is used.

use super::{Policy, PolicyKind, Slot, SlotLists};

pub(super) const KIND: PolicyKind = PolicyKind {
    name: "fifo",
    description: "evicts what came first, however often it was used",
    build: || Box::new(Fifo { lists: SlotLists::new(1) }),
};

const ARRIVED: u32 = 0;

struct Fifo {
    lists: SlotLists,
}

impl Policy for Fifo {
    fn inserted(&mut self, slot: Slot, _hash: u64) {
        self.lists.push_back(ARRIVED, slot);
    }

    fn hit(&mut self, _slot: Slot) {}

    fn removed(&mut self, slot: Slot, _hash: u64, _evicted: bool) {
        self.lists.unlink(slot);
    }

    fn victim(&mut self) -> Option<Slot> {
        self.lists.front(ARRIVED)
    }

    fn clear(&mut self) {
        self.lists.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_victim_is_the_one_that_came_first_even_if_used() {
        let mut fifo = (KIND.build)();
        for slot in [2, 0, 1] {
            fifo.inserted(slot, 0);
        }
        fifo.hit(2);
        assert_eq!(fifo.victim(), Some(2));
        fifo.removed(2, 0, true);
        assert_eq!(fifo.victim(), Some(0));
    }
}
