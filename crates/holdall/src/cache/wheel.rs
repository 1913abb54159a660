//! When what expires: a hierarchical timing wheel.
//!
//! Varghese and Lauck, "Hashed and Hierarchical Timing Wheels" (SOSP 1987), scheme 7. Time is
//! read as a number of seven digits, 64 buckets to the digit, one millisecond to the lowest. A
//! slot waits in the bucket of the highest digit in which its expiry differs from the present,
//! and moves to a lower digit when the present reaches that bucket. Setting and cancelling are
//! constant time; finding what is due costs nothing for buckets that are empty.
//!
//! A bucket may hold a million slots. Its list is taken over whole, and handed out one slot per
//! step, so that the caller decides how long one call may take.

use super::list::{Slot, SlotLists};

const DIGIT: u32 = 6;
const BUCKETS: u32 = 1 << DIGIT;
const LEVELS: u32 = 7;
/// 139 years: what expires later is not followed, only compared when it is read.
const HORIZON: u64 = 1 << (DIGIT * LEVELS);

/// Slots whose time has come.
const DUE: u32 = LEVELS * BUCKETS;
/// Slots on their way from one bucket to lower ones.
const MOVING: u32 = DUE + 1;

pub(crate) struct Wheel {
    lists: SlotLists,
    /// Which buckets of a level hold something, one bit each.
    occupied: [u64; LEVELS as usize],
    /// All that expires up to here is in `DUE`; all of `MOVING` expires here or later.
    reached: u64,
}

/// One step of looking for what is due.
pub(crate) enum Step {
    /// This slot is due, and no longer followed.
    Due(Slot),
    /// A slot was moved closer; there may be more to do.
    Moved,
    /// Nothing is due.
    Idle,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Self { lists: SlotLists::new(MOVING + 1), occupied: [0; LEVELS as usize], reached: 0 }
    }

    /// Follows a slot that expires at `at`, instead of any earlier time set for it.
    pub(crate) fn set(&mut self, slot: Slot, at: u64) {
        if at >= HORIZON {
            self.cancel(slot);
            return;
        }
        let list = if at <= self.reached {
            DUE
        } else {
            let level = (at ^ self.reached).ilog2() / DIGIT;
            let digit = (at >> (level * DIGIT)) as u32 % BUCKETS;
            self.occupied[level as usize] |= 1 << digit;
            level * BUCKETS + digit
        };
        let emptied = self.lists.push_back(list, slot);
        self.mark_empty(emptied);
    }

    /// Follows a slot no longer; harmless if it was not followed.
    pub(crate) fn cancel(&mut self, slot: Slot) {
        let emptied = self.lists.unlink(slot);
        self.mark_empty(emptied);
    }

    /// Does one constant-time step towards `now`. `expiry` tells when a slot expires.
    pub(crate) fn step(&mut self, now: u64, expiry: impl Fn(Slot) -> u64) -> Step {
        if let Some(slot) = self.lists.front(DUE) {
            self.lists.unlink(slot);
            return Step::Due(slot);
        }
        if let Some(slot) = self.lists.front(MOVING) {
            self.set(slot, expiry(slot));
            return Step::Moved;
        }
        match self.next_bucket() {
            Some((level, digit, start)) if start <= now => {
                self.reached = start;
                self.occupied[level as usize] &= !(1 << digit);
                let to = if level == 0 { DUE } else { MOVING };
                self.lists.append(level * BUCKETS + digit, to);
                Step::Moved
            }
            _ => {
                // No bucket lies between, so no slot's digits change their relation to this.
                self.reached = self.reached.max(now);
                Step::Idle
            }
        }
    }

    /// When there is something to do next; no slot expires before.
    pub(crate) fn next(&self) -> Option<u64> {
        if !self.lists.is_empty(DUE) || !self.lists.is_empty(MOVING) {
            return Some(self.reached);
        }
        self.next_bucket().map(|(_, _, start)| start)
    }

    /// How many followed slots have expired; costs as much as there are, or a bucket more.
    pub(crate) fn count_due(&self, now: u64, expiry: impl Fn(Slot) -> u64) -> usize {
        let mut due = self.lists.iter(DUE).count();
        due += self.lists.iter(MOVING).filter(|slot| expiry(*slot) <= now).count();
        for level in 0..LEVELS {
            let mut bits = self.occupied[level as usize];
            while bits != 0 {
                let digit = bits.trailing_zeros();
                bits &= bits - 1;
                if self.start(level, digit) > now {
                    break;
                }
                let bucket = self.lists.iter(level * BUCKETS + digit);
                due += bucket.filter(|slot| expiry(*slot) <= now).count();
            }
        }
        due
    }

    /// Follows nothing any more.
    pub(crate) fn clear(&mut self) {
        self.lists.clear();
        self.occupied = [0; LEVELS as usize];
    }

    /// The earliest bucket that holds something. Lower levels are always earlier: what is in
    /// them agrees with the present in every higher digit.
    fn next_bucket(&self) -> Option<(u32, u32, u64)> {
        let level = self.occupied.iter().position(|bits| *bits != 0)? as u32;
        let digit = self.occupied[level as usize].trailing_zeros();
        Some((level, digit, self.start(level, digit)))
    }

    /// The first millisecond that belongs to a bucket.
    fn start(&self, level: u32, digit: u32) -> u64 {
        let above = self.reached >> ((level + 1) * DIGIT) << ((level + 1) * DIGIT);
        above | u64::from(digit) << (level * DIGIT)
    }

    fn mark_empty(&mut self, list: Option<u32>) {
        if let Some(list) = list.filter(|list| *list < DUE) {
            self.occupied[(list / BUCKETS) as usize] &= !(1 << (list % BUCKETS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all_due(wheel: &mut Wheel, now: u64, expiry: &[u64]) -> Vec<Slot> {
        let mut due = Vec::new();
        loop {
            match wheel.step(now, |slot| expiry[slot as usize]) {
                Step::Due(slot) => due.push(slot),
                Step::Moved => {}
                Step::Idle => return due,
            }
        }
    }

    proptest! {
        /// Every slot comes up at the first look at or after its time, in order of time.
        #[test]
        fn a_slot_is_due_at_its_millisecond_and_not_before(
            expiry in prop::collection::vec(prop_oneof![0..100u64, 0..70_000u64, 0..HORIZON], 1..40),
            cancelled in prop::collection::vec(any::<bool>(), 40),
            mut looks in prop::collection::vec(prop_oneof![0..100u64, 0..70_000u64, 0..HORIZON], 1..20),
        ) {
            let mut wheel = Wheel::new();
            for (slot, at) in expiry.iter().enumerate() {
                wheel.set(slot as Slot, *at);
            }
            for (slot, _) in expiry.iter().enumerate().filter(|(slot, _)| cancelled[*slot]) {
                wheel.cancel(slot as Slot);
            }
            looks.sort_unstable();
            let mut seen = None;
            for now in looks {
                let expected = |from: Option<u64>| {
                    let in_time = |at: u64| at <= now && from.is_none_or(|from| at > from);
                    (0..expiry.len()).filter(|s| !cancelled[*s] && in_time(expiry[*s])).count()
                };
                prop_assert_eq!(wheel.count_due(now, |slot| expiry[slot as usize]), expected(seen));
                let hint = wheel.next();
                let due = all_due(&mut wheel, now, &expiry);
                prop_assert_eq!(due.len(), expected(seen));
                if let Some(first) = due.first() {
                    prop_assert!(hint.is_some_and(|hint| hint <= expiry[*first as usize]));
                }
                for slot in &due {
                    prop_assert!(expiry[*slot as usize] <= now);
                }
                prop_assert!(due.is_sorted_by_key(|slot| expiry[*slot as usize]));
                prop_assert!(wheel.next().is_none_or(|next| next > now));
                seen = Some(now);
            }
        }
    }

    #[test]
    fn a_full_bucket_is_moved_one_slot_per_step() {
        let mut wheel = Wheel::new();
        for slot in 0..10_000 {
            wheel.set(slot, 100_000 + u64::from(slot % 7));
        }
        let expiry = |slot: Slot| 100_000 + u64::from(slot % 7);
        let mut steps = 0_u32;
        while !matches!(wheel.step(100_000, expiry), Step::Idle) {
            steps += 1;
        }
        assert!((20_000..45_000).contains(&steps), "{steps} steps");
        assert_eq!(wheel.next(), Some(100_001));
    }

    #[test]
    fn what_expires_after_the_horizon_is_not_followed() {
        let mut wheel = Wheel::new();
        wheel.set(0, 5);
        wheel.set(0, u64::MAX - 1);
        assert_eq!(wheel.next(), None);
    }
}
