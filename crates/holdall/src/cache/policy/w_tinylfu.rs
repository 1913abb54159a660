//! W-TinyLFU whose window adapts itself: how often and how lately, in the share that pays.
//!
//! New entries pass through a window. Who leaves it has to beat the oldest of the main segment:
//! the one that was used more often lately stays, as a sketch of all keys seen tells (Einziger,
//! Friedman and Manes, "TinyLFU: a highly efficient cache admission policy", 2017). A large
//! window is best where the newest keys come back, a small one where the popular do; Einziger,
//! Eytan, Friedman and Manes, "Adaptive software cache management" (Middleware 2018), climb to the
//! best size by trial. Here each miss tells, as in ARC (Megiddo and Modha, FAST 2003): a key that
//! was pushed out of the window lately asks for a larger one, a key that was pushed out of the
//! main segment for a smaller one.
//!
//! Both segments are FIFO queues whose used entries go round again, as in S3-FIFO (SOSP 2023), so
//! that a hit writes one byte and moves nothing.
//!
//! Not for workloads of which the newest keys are all that matters: `lru` needs less memory.

use super::ghost::Ghost;
use super::sketch::Sketch;
use super::{Policy, PolicyKind, Slot, SlotLists};

pub(super) const KIND: PolicyKind = PolicyKind {
    name: "w-tinylfu",
    description: "keeps what is used often or lately, in shares that follow the workload",
    build: || Box::new(WTinyLfu::new()),
};

const WINDOW: u32 = 0;
const MAIN: u32 = 1;

/// The window begins with one entry in a hundred.
const FIRST_SHARE: usize = 100;
/// By how many entries one miss moves the border.
const STEP: usize = 2;
/// Of each segment, half as many evictions are remembered as there are entries.
const REMEMBERED_SHARE: usize = 3;
/// Uses counted at most between two looks at an entry.
const MOST_USES: u8 = 3;
/// Set while the entry is in the main segment.
const IN_MAIN: u8 = 4;
/// Entries sent round in one search of a segment, so that it takes bounded time.
const MOST_ROUNDS: u32 = 1_024;

struct WTinyLfu {
    lists: SlotLists,
    /// Per slot: uses since the last look in the low bits, and the segment.
    states: Vec<u8>,
    /// Per slot: what the sketch knows the key by.
    hashes: Vec<u32>,
    window: usize,
    main: usize,
    /// How many entries the window should have, once something had to be evicted.
    target: Option<usize>,
    sketch: Sketch,
    left_window: Ghost,
    left_main: Ghost,
}

impl WTinyLfu {
    fn new() -> Self {
        Self {
            lists: SlotLists::new(2),
            states: Vec::new(),
            hashes: Vec::new(),
            window: 0,
            main: 0,
            target: None,
            sketch: Sketch::new(),
            left_window: Ghost::new(),
            left_main: Ghost::new(),
        }
    }

    fn entries(&self) -> usize {
        self.window + self.main
    }

    fn target(&self) -> usize {
        self.target.unwrap_or(self.entries() / FIRST_SHARE).clamp(1, self.entries().max(2) - 1)
    }

    /// Learns from a miss whether a larger or a smaller window would have kept the key.
    fn adapt(&mut self, hash: u64) {
        if self.left_window.take(hash) {
            self.target = Some(self.target() + STEP);
        } else if self.left_main.take(hash) {
            self.target = Some(self.target().saturating_sub(STEP));
        }
    }

    /// Moves the oldest of the window to the main segment.
    fn admit(&mut self, slot: Slot) {
        self.states[slot as usize] |= IN_MAIN;
        self.lists.push_back(MAIN, slot);
        self.window -= 1;
        self.main += 1;
    }

    /// The entry of a segment that should go first; those in front of it that were used since
    /// they were last looked at go round.
    fn oldest_unused(&mut self, list: u32) -> Option<Slot> {
        for _ in 0..MOST_ROUNDS {
            let slot = self.lists.front(list)?;
            let state = self.states[slot as usize];
            let uses = state & MOST_USES;
            if uses == 0 {
                return Some(slot);
            }
            // In the main segment a use is worth a round, in the window all uses are worth one.
            let counted = if list == MAIN { 1 } else { uses };
            self.sketch.add(self.hashes[slot as usize], counted);
            self.states[slot as usize] = state - counted;
            self.lists.push_back(list, slot);
        }
        self.lists.front(list)
    }

    fn estimate(&self, slot: Slot) -> u64 {
        self.sketch.estimate(self.hashes[slot as usize])
    }
}

impl Policy for WTinyLfu {
    fn inserted(&mut self, slot: Slot, hash: u64) {
        let at = slot as usize;
        if self.states.len() <= at {
            self.states.resize(at + 1, 0);
            self.hashes.resize(at + 1, 0);
        }
        self.adapt(hash);
        self.window += 1;
        self.lists.push_back(WINDOW, slot);
        self.states[at] = 0;
        self.hashes[at] = mixed(hash);
        self.sketch.fit(self.entries());
        self.sketch.add(self.hashes[at], 1);
        // While the cache fills, and after deletions, no victim makes room in the window.
        if self.window > self.target() + 1
            && let Some(oldest) = self.lists.front(WINDOW)
        {
            self.admit(oldest);
        }
    }

    #[inline]
    fn hit(&mut self, slot: Slot) {
        let state = &mut self.states[slot as usize];
        if *state & MOST_USES != MOST_USES {
            *state += 1;
        }
    }

    fn removed(&mut self, slot: Slot, hash: u64, evicted: bool) {
        self.lists.unlink(slot);
        let remembered = (self.entries() / REMEMBERED_SHARE).max(1);
        let (count, ghost) = if self.states[slot as usize] & IN_MAIN != 0 {
            (&mut self.main, &mut self.left_main)
        } else {
            (&mut self.window, &mut self.left_window)
        };
        *count -= 1;
        if evicted {
            ghost.note(hash, remembered);
        }
    }

    fn victim(&mut self) -> Option<Slot> {
        let target = self.target();
        self.target = Some(target);
        // The border moves by a step for each miss, so this is enough to follow it.
        for _ in 0..STEP {
            if self.window <= target + 1 {
                break;
            }
            let oldest = self.lists.front(WINDOW)?;
            self.admit(oldest);
        }
        if self.window < target
            && let Some(slot) = self.oldest_unused(MAIN)
        {
            return Some(slot);
        }
        let Some(candidate) = self.oldest_unused(WINDOW) else {
            return self.oldest_unused(MAIN);
        };
        let Some(oldest) = self.oldest_unused(MAIN) else {
            return Some(candidate);
        };
        if self.estimate(candidate) > self.estimate(oldest) {
            self.admit(candidate);
            Some(oldest)
        } else {
            Some(candidate)
        }
    }

    fn clear(&mut self) {
        *self = Self::new();
    }
}

/// 32 well-spread bits of a hash that may be weak (the finishing step of MurmurHash3).
fn mixed(hash: u64) -> u32 {
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache of keys that are their own hashes.
    struct Keys<P> {
        policy: P,
        held: std::collections::HashMap<u64, Slot>,
        size: usize,
    }

    impl Keys<WTinyLfu> {
        fn new(size: usize) -> Self {
            Self::with(WTinyLfu::new(), size)
        }
    }

    impl<P: Policy> Keys<P> {
        fn with(policy: P, size: usize) -> Self {
            Self { policy, held: std::collections::HashMap::new(), size }
        }

        /// Whether the key was there.
        fn ask(&mut self, key: u64) -> bool {
            if let Some(slot) = self.held.get(&key) {
                self.policy.hit(*slot);
                return true;
            }
            let mut slot = self.held.len() as Slot;
            if self.held.len() == self.size {
                slot = self.policy.victim().unwrap();
                let gone = *self.held.iter().find(|(_, held)| **held == slot).unwrap().0;
                self.held.remove(&gone);
                self.policy.removed(slot, gone, true);
            }
            self.held.insert(key, slot);
            self.policy.inserted(slot, key);
            false
        }
    }

    impl Policy for Box<dyn Policy> {
        fn inserted(&mut self, slot: Slot, hash: u64) {
            (**self).inserted(slot, hash);
        }
        fn hit(&mut self, slot: Slot) {
            (**self).hit(slot);
        }
        fn removed(&mut self, slot: Slot, hash: u64, evicted: bool) {
            (**self).removed(slot, hash, evicted);
        }
        fn victim(&mut self) -> Option<Slot> {
            (**self).victim()
        }
        fn clear(&mut self) {
            (**self).clear();
        }
    }

    #[test]
    fn a_scan_does_not_push_out_what_is_used_often() {
        let mut keys = Keys::new(100);
        for key in (0..50).chain(0..50) {
            keys.ask(key);
        }
        for round in 0..20_u64 {
            for key in 0..50 {
                assert!(keys.ask(key), "round {round} of the scan pushed out {key}");
            }
            for key in 0..100 {
                keys.ask(1_000 + round * 100 + key);
            }
        }
    }

    #[test]
    fn a_loop_that_is_larger_than_the_cache_keeps_a_part_of_it() {
        let mut keys = Keys::new(100);
        let hits = (0..20_000).filter(|n| keys.ask(n % 200)).count();
        assert!(hits > 6_000, "only {hits} of 20,000");
    }

    #[test]
    fn the_window_grows_where_the_newest_keys_come_back() {
        let mut random = 1_u64;
        let mut below = |bound: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % bound
        };
        // Around a front that moves on by one key in four accesses.
        let asked: Vec<u64> = (0..40_000).map(|n| 1_000 + n / 4 - below(16) * below(16)).collect();
        let mut keys = Keys::new(100);
        let hits = asked.iter().filter(|key| keys.ask(**key)).count();
        let mut lru = Keys::with((PolicyKind::LRU.build)(), 100);
        let best = asked.iter().filter(|key| lru.ask(**key)).count();
        assert!(hits * 100 > best * 97, "{hits} hits where lru has {best}");
        assert!(keys.policy.target() > 50, "the window has {} of 100", keys.policy.target());
    }

    #[test]
    fn what_was_popular_once_goes_in_the_end() {
        let mut keys = Keys::new(100);
        for n in 0..5_000 {
            keys.ask(n % 100);
        }
        for n in 0..20_000 {
            keys.ask(1_000 + n % 100);
        }
        let old = keys.held.keys().filter(|key| **key < 100).count();
        assert!(old < 20, "{old} of the old favourites are still there");
    }

    #[test]
    fn counts_stay_right_when_entries_are_deleted() {
        let mut policy = WTinyLfu::new();
        for slot in 0..1_000 {
            policy.inserted(slot, u64::from(slot));
        }
        for slot in 0..1_000 {
            policy.removed(slot, u64::from(slot), false);
        }
        assert_eq!((policy.window, policy.main, policy.victim()), (0, 0, None));
    }
}
