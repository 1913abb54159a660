//! Remembers, in eight bytes each, which entries were evicted not long ago.
//!
//! The way of the S3-FIFO paper (section 4.2): a table of fingerprints, each with the number of
//! the eviction that put it there. What lies more evictions back than the table is meant to
//! remember counts as forgotten, so nothing ever needs to be taken out. Eight fingerprints that
//! share a place share a cache line; a ninth pushes out the oldest. Two entries with one
//! fingerprint are taken for each other, once in 500 million lookups.

const WAYS: usize = 8;

#[derive(Clone, Copy)]
struct Trace {
    fingerprint: u32,
    /// The number of the eviction; 0 is an empty place.
    number: u32,
}

pub(super) struct Ghost {
    sets: Vec<[Trace; WAYS]>,
    evictions: u32,
    remembers: u32,
}

impl Ghost {
    /// Remembers nothing, and takes no memory yet.
    pub(super) const fn new() -> Self {
        Self { sets: Vec::new(), evictions: 0, remembers: 0 }
    }

    /// Notes an eviction from a cache of `entries` entries; as many evictions are remembered.
    pub(super) fn note(&mut self, hash: u64, entries: usize) {
        let entries = u32::try_from(entries).unwrap_or(u32::MAX);
        if entries / 2 >= self.remembers {
            // The first eviction, or a cache limited by bytes that has come to hold many more.
            let sets = entries as usize / WAYS + entries as usize / (4 * WAYS) + 1;
            *self = Self::new();
            self.sets = vec![[Trace { fingerprint: 0, number: 0 }; WAYS]; sets];
            self.remembers = entries.max(1);
        }
        self.evictions = self.evictions.checked_add(1).unwrap_or(1);
        let (set, fingerprint) = self.place(hash);
        let evictions = self.evictions;
        let age = |trace: &Trace| match trace {
            Trace { number: 0, .. } => u32::MAX,
            Trace { number, .. } => evictions.wrapping_sub(*number),
        };
        let same = |trace: &Trace| trace.number != 0 && trace.fingerprint == fingerprint;
        let oldest = self.sets[set].iter_mut().max_by_key(|trace| (same(trace), age(trace)));
        *oldest.expect("a set has eight places") = Trace { fingerprint, number: evictions };
    }

    /// Whether this was evicted lately; if so, it is forgotten.
    pub(super) fn take(&mut self, hash: u64) -> bool {
        if self.sets.is_empty() {
            return false;
        }
        let (set, fingerprint) = self.place(hash);
        for trace in &mut self.sets[set] {
            if trace.fingerprint == fingerprint && trace.number != 0 {
                let age = self.evictions.wrapping_sub(trace.number);
                trace.number = 0;
                return age < self.remembers;
            }
        }
        false
    }

    fn place(&self, hash: u64) -> (usize, u32) {
        // Callers' hashes may be weak in some bits: mix (Fibonacci hashing, the finishing step
        // of MurmurHash3).
        let mixed = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
        let set = ((mixed >> 32) * self.sets.len() as u64) >> 32;
        (set as usize, mixed as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eviction_is_remembered_once() {
        let mut ghost = Ghost::new();
        assert!(!ghost.take(7));
        ghost.note(7, 10);
        assert!(ghost.take(7));
        assert!(!ghost.take(7));
    }

    #[test]
    fn what_lies_too_many_evictions_back_is_forgotten() {
        let mut ghost = Ghost::new();
        for hash in 0..1_000 {
            ghost.note(hash, 100);
        }
        let old = (0..900).filter(|hash| ghost.take(*hash)).count();
        assert!(old <= 1, "{old} of 900 old evictions are remembered");
        let lately = (900..1_000).filter(|hash| ghost.take(*hash)).count();
        assert!(lately >= 90, "only {lately} of 100 late evictions are remembered");
    }

    #[test]
    fn it_grows_with_a_cache_that_is_limited_by_bytes_only() {
        let mut ghost = Ghost::new();
        ghost.note(1, 1);
        for hash in 0..1_000 {
            ghost.note(hash, 1_000);
        }
        assert!((0..1_000).filter(|hash| ghost.take(*hash)).count() >= 900);
    }
}
