//! The oldest values of a store, found in one look at all of them and little memory.

use std::collections::BinaryHeap;

use crate::backend::Totals;
use crate::key::Key;

/// How many are kept at most: some ten megabytes. If more have to go, there is another look.
const MOST: usize = 65_536;

/// A value that may have to go. In the order of fields: the one that goes first is the least.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    /// When it was last saved, or used, milliseconds; 0 has to go in any case.
    pub(super) last: u64,
    /// Tells values of one moment apart, and the value from one that is saved later.
    pub(super) generation: u64,
    pub(super) bytes: u64,
    pub(super) key: Key,
}

/// Keeps as many of the oldest as it takes to free what is asked.
pub(super) struct Oldest {
    wanted: Totals,
    kept: BinaryHeap<Candidate>,
    bytes: u64,
    most: usize,
}

impl Oldest {
    pub(super) fn new(wanted: Totals) -> Self {
        Self { wanted, kept: BinaryHeap::new(), bytes: 0, most: MOST }
    }

    pub(super) fn add(&mut self, candidate: Candidate) {
        self.bytes += candidate.bytes;
        self.kept.push(candidate);
        while let Some(youngest) = self.kept.peek() {
            let rest = self.kept.len() - 1;
            let is_enough = rest as u64 >= self.wanted.entries
                && self.bytes - youngest.bytes >= self.wanted.total_size;
            if !is_enough && rest < self.most {
                break;
            }
            self.bytes -= youngest.bytes;
            self.kept.pop();
        }
    }

    /// The one that goes first comes first.
    pub(super) fn in_order(self) -> Vec<Candidate> {
        self.kept.into_sorted_vec()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidates(ages: &[(u64, u64)]) -> Vec<Candidate> {
        let one = |(at, (last, bytes)): (usize, &(u64, u64))| Candidate {
            last: *last,
            generation: at as u64,
            bytes: *bytes,
            key: Key::new(&format!("k{at}")).expect("a key"),
        };
        ages.iter().enumerate().map(one).collect()
    }

    proptest! {
        #[test]
        fn it_keeps_the_oldest_that_are_enough_and_not_one_more(
            ages in prop::collection::vec((0..20_u64, 0..9_u64), 0..60),
            entries in 0..20_u64,
            total_size in 0..99_u64,
        ) {
            let all = candidates(&ages);
            let mut oldest = Oldest::new(Totals { entries, total_size });
            all.iter().cloned().for_each(|one| oldest.add(one));
            let mut sorted = all;
            sorted.sort();
            let mut expected = Vec::new();
            let mut bytes = 0;
            for one in sorted {
                if expected.len() as u64 >= entries && bytes >= total_size {
                    break;
                }
                bytes += one.bytes;
                expected.push(one);
            }
            prop_assert_eq!(oldest.in_order(), expected);
        }
    }

    #[test]
    fn it_keeps_the_oldest_of_too_many() {
        let mut oldest = Oldest::new(Totals { entries: 100, total_size: 0 });
        oldest.most = 3;
        let ages: Vec<_> = [5, 4, 3, 9, 1, 7].map(|last| (last, 1)).into();
        candidates(&ages).into_iter().for_each(|one| oldest.add(one));
        let kept: Vec<u64> = oldest.in_order().iter().map(|one| one.last).collect();
        assert_eq!(kept, [1, 3, 4]);
    }
}
