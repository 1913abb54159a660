//! Estimates how often a key was used lately, in four bytes for each entry of the cache.
//!
//! A count-min sketch (Cormode and Muthukrishnan, 2005) of 4-bit counters that are halved now and
//! then, as TinyLFU has it (Einziger, Friedman and Manes, "TinyLFU: a highly efficient cache
//! admission policy", ACM Transactions on Storage, 2017). The four counters of a key lie in one
//! cache line. An estimate is never below the true count since the last halving, up to 15.

/// Words of 16 counters that share a cache line.
const LINE: usize = 8;
/// Entries of the cache for each word.
const ENTRIES_PER_WORD: usize = 1;
/// Counters are halved after this many uses for each entry.
const USES_PER_ENTRY: usize = 20;
/// All counters without their highest bit.
const HALVED: u64 = 0x7777_7777_7777_7777;
const MOST: u64 = 15;

pub(super) struct Sketch {
    lines: Vec<[u64; LINE]>,
    uses: usize,
    entries: usize,
}

impl Sketch {
    /// Knows no key, and takes no memory yet.
    pub(super) const fn new() -> Self {
        Self { lines: Vec::new(), uses: 0, entries: 0 }
    }

    /// Makes room for a cache of so many entries, keeping all estimates. It doubles, so each
    /// entry pays for it once on average.
    pub(super) fn fit(&mut self, entries: usize) {
        self.entries = self.entries.max(entries);
        while self.lines.len() * LINE * ENTRIES_PER_WORD < entries {
            if self.lines.is_empty() {
                self.lines.push([0; LINE]);
                continue;
            }
            // A line is chosen by the high bits of a hash, so each becomes two that lie together.
            let mut doubled = Vec::with_capacity(self.lines.len() * 2);
            doubled.extend(self.lines.iter().flat_map(|line| [*line, *line]));
            self.lines = doubled;
        }
    }

    /// Counts uses of a key.
    pub(super) fn add(&mut self, hash: u32, uses: u8) {
        if self.lines.is_empty() {
            return;
        }
        let (line, places) = self.places(hash);
        let line = &mut self.lines[line];
        for (word, shift) in places {
            let count = line[word] >> shift & MOST;
            let more = u64::from(uses).min(MOST - count);
            line[word] += more << shift;
        }
        self.uses += usize::from(uses);
        if self.uses >= self.entries.saturating_mul(USES_PER_ENTRY) {
            self.halve();
        }
    }

    /// How often the key was used lately, 15 at most.
    pub(super) fn estimate(&self, hash: u32) -> u64 {
        if self.lines.is_empty() {
            return 0;
        }
        let (line, places) = self.places(hash);
        let line = &self.lines[line];
        places.into_iter().map(|(word, shift)| line[word] >> shift & MOST).min().unwrap_or(0)
    }

    /// So old favourites are forgotten. It takes a millisecond for a million entries.
    fn halve(&mut self) {
        for word in self.lines.iter_mut().flatten() {
            *word = *word >> 1 & HALVED;
        }
        self.uses /= 2;
    }

    /// The line of a key and the four counters in it: word and shift.
    fn places(&self, hash: u32) -> (usize, [(usize, u32); 4]) {
        let line = (u64::from(hash) * self.lines.len() as u64) >> 32;
        // The line took the high bits; the counters take 24 of a hash of the hash.
        let bits = hash.wrapping_mul(0x9E37_79B9).rotate_left(15).wrapping_mul(0x85EB_CA6B) >> 8;
        let place = |row: u32| {
            let part = bits >> (row * 6);
            ((row * 2 + (part & 1)) as usize, (part >> 1 & 15) * 4)
        };
        (line as usize, [place(0), place(1), place(2), place(3)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A well-spread hash (the finishing step of MurmurHash3).
    fn hashed(n: u32) -> u32 {
        let n = (n ^ n >> 16).wrapping_mul(0x85EB_CA6B);
        let n = (n ^ n >> 13).wrapping_mul(0xC2B2_AE35);
        n ^ n >> 16
    }

    #[test]
    fn an_estimate_is_never_below_the_count_and_seldom_above() {
        let mut sketch = Sketch::new();
        sketch.fit(1_000);
        for key in 0..1_000 {
            sketch.add(hashed(key), (key % 10) as u8);
        }
        let mut above = 0;
        for key in 0..1_000 {
            let (count, estimate) = (u64::from(key % 10), sketch.estimate(hashed(key)));
            assert!(estimate >= count, "{estimate} is below {count}");
            above += u64::from(estimate > count);
        }
        assert!(above < 150, "{above} of 1,000 estimates are too high");
    }

    #[test]
    fn growing_keeps_what_is_known() {
        let mut sketch = Sketch::new();
        sketch.fit(10);
        sketch.add(hashed(1), 7);
        sketch.fit(100_000);
        assert!(sketch.estimate(hashed(1)) >= 7);
        assert_eq!(sketch.lines.len() * LINE * ENTRIES_PER_WORD, 131_072);
    }

    #[test]
    fn counts_stop_at_fifteen_and_fade() {
        let mut sketch = Sketch::new();
        sketch.fit(16);
        for _ in 0..10 {
            sketch.add(hashed(5), 3);
        }
        assert_eq!(sketch.estimate(hashed(5)), 15);
        for key in 100..420 {
            sketch.add(hashed(key), 1);
        }
        assert!(sketch.estimate(hashed(5)) < 15);
    }
}
