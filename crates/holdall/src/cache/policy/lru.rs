//! Least recently used, exact.
//!
//! Easy to predict, and right where recent use foretells use. Reading through more keys than fit
//! (a scan) empties it of all that was useful; `w-tinylfu` withstands that.

use super::{Policy, PolicyKind, Slot, SlotLists};

pub(super) const KIND: PolicyKind = PolicyKind {
    name: "lru",
    description: "evicts what was used longest ago; predictable, weak against scans",
    build: || Box::new(Lru { lists: SlotLists::new(1) }),
};

/// The one list, longest unused first.
const USED: u32 = 0;

struct Lru {
    lists: SlotLists,
}

impl Policy for Lru {
    fn inserted(&mut self, slot: Slot, _hash: u64) {
        self.lists.push_back(USED, slot);
    }

    fn hit(&mut self, slot: Slot) {
        self.lists.push_back(USED, slot);
    }

    fn removed(&mut self, slot: Slot, _hash: u64, _evicted: bool) {
        self.lists.unlink(slot);
    }

    fn victim(&mut self) -> Option<Slot> {
        self.lists.front(USED)
    }

    fn clear(&mut self) {
        self.lists.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_victim_is_the_one_used_longest_ago() {
        let mut lru = (KIND.build)();
        for slot in 0..4 {
            lru.inserted(slot, 0);
        }
        lru.hit(0);
        lru.hit(2);
        let mut order = Vec::new();
        while let Some(slot) = lru.victim() {
            lru.removed(slot, 0, true);
            order.push(slot);
        }
        assert_eq!(order, [1, 3, 0, 2]);
    }
}
