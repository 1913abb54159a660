//! S3-FIFO: three first-in-first-out queues and two bits per entry.
//!
//! Yang, Zhang, Qiu, Yue and Vinayak, "FIFO queues are all you need for cache eviction" (SOSP
//! 2023). Most keys are used once. New entries wait in a small queue, a tenth of the cache; those
//! used at least twice there move to the main queue, the rest leave early, and their hashes stay
//! in a ghost queue. A key that comes back while its ghost is remembered goes straight to the
//! main queue, where entries go round as long as they are used. So a scan passes through the
//! small queue and leaves the main one alone, and a hit writes one byte, no list.
//!
//! Not for workloads where everything is used exactly twice, soon after each other: `lru`.

use super::ghost::Ghost;
use super::{Policy, PolicyKind, Slot, SlotLists};

pub(super) const KIND: PolicyKind = PolicyKind {
    name: "s3-fifo",
    description: "evicts early what is used once, keeps what is used again; withstands scans",
    build: || Box::new(S3Fifo::new()),
};

const SMALL: u32 = 0;
const MAIN: u32 = 1;

/// The share of the cache that the small queue gets: one in ten.
const SMALL_SHARE: usize = 10;
/// Uses counted at most, and needed to move from the small queue to the main one.
const MOST_USES: u8 = 3;
const USES_TO_STAY: u8 = 2;
/// Set while the entry is in the main queue.
const IN_MAIN: u8 = 4;
/// Entries given another round in one search. The paper sets no bound; without one, a search
/// could go three times round a cache where all is in use.
const MOST_ROUNDS: u32 = 512;

struct S3Fifo {
    lists: SlotLists,
    /// Per slot: uses in the low bits, and the queue.
    states: Vec<u8>,
    small: usize,
    main: usize,
    ghost: Ghost,
}

impl S3Fifo {
    fn new() -> Self {
        let lists = SlotLists::new(2);
        Self { lists, states: Vec::new(), small: 0, main: 0, ghost: Ghost::new() }
    }
}

impl Policy for S3Fifo {
    fn inserted(&mut self, slot: Slot, hash: u64) {
        if self.states.len() <= slot as usize {
            self.states.resize(slot as usize + 1, 0);
        }
        if self.ghost.take(hash) {
            self.states[slot as usize] = IN_MAIN;
            self.main += 1;
            self.lists.push_back(MAIN, slot);
        } else {
            self.states[slot as usize] = 0;
            self.small += 1;
            self.lists.push_back(SMALL, slot);
        }
    }

    fn hit(&mut self, slot: Slot) {
        let state = &mut self.states[slot as usize];
        if *state & MOST_USES != MOST_USES {
            *state += 1;
        }
    }

    fn removed(&mut self, slot: Slot, hash: u64, evicted: bool) {
        self.lists.unlink(slot);
        if self.states[slot as usize] & IN_MAIN != 0 {
            self.main -= 1;
        } else {
            if evicted {
                self.ghost.note(hash, self.small + self.main);
            }
            self.small -= 1;
        }
    }

    fn victim(&mut self) -> Option<Slot> {
        for _ in 0..MOST_ROUNDS {
            let total = self.small + self.main;
            let from_small = self.small * SMALL_SHARE >= total || self.main == 0;
            let slot = self.lists.front(if from_small { SMALL } else { MAIN })?;
            let state = &mut self.states[slot as usize];
            let uses = *state & MOST_USES;
            if from_small && uses >= USES_TO_STAY {
                *state = IN_MAIN;
                self.small -= 1;
                self.main += 1;
            } else if !from_small && uses > 0 {
                *state -= 1;
            } else {
                return Some(slot);
            }
            self.lists.push_back(MAIN, slot);
        }
        self.lists.front(MAIN)
    }

    fn clear(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evict(policy: &mut S3Fifo) -> Slot {
        let slot = policy.victim().unwrap();
        policy.removed(slot, u64::from(slot), true);
        slot
    }

    fn filled(slots: Slot) -> S3Fifo {
        let mut policy = S3Fifo::new();
        for slot in 0..slots {
            policy.inserted(slot, u64::from(slot));
        }
        policy
    }

    #[test]
    fn a_scan_does_not_push_out_what_was_used_twice() {
        let mut policy = filled(10);
        for slot in [3, 4, 3, 4] {
            policy.hit(slot);
        }
        for hash in 100..1_000 {
            let slot = evict(&mut policy);
            assert!(slot != 3 && slot != 4, "the scan pushed out {slot}");
            policy.inserted(slot, hash);
        }
    }

    #[test]
    fn a_key_that_comes_back_soon_goes_to_the_main_queue() {
        let mut policy = filled(10);
        let slot = evict(&mut policy);
        policy.inserted(slot, u64::from(slot));
        assert_eq!(policy.states[slot as usize], IN_MAIN);
        assert_eq!((policy.small, policy.main), (9, 1));
    }

    #[test]
    fn a_deleted_key_leaves_no_ghost() {
        let mut policy = filled(10);
        policy.removed(5, 5, false);
        policy.inserted(5, 5);
        assert_eq!((policy.small, policy.main), (10, 0));
    }

    #[test]
    fn the_search_is_bounded_when_everything_is_in_use() {
        let mut policy = filled(5_000);
        for slot in (0..5_000).cycle().take(15_000) {
            policy.hit(slot);
        }
        assert!(policy.victim().is_some());
        assert_eq!(policy.main, MOST_ROUNDS as usize);
    }
}
