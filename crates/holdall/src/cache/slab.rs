//! Where the entries lie: one array, free places chained for reuse.

use super::list::Slot;

/// The time that is never reached.
pub(crate) const NEVER: u64 = u64::MAX;

/// One place: 40 bytes when key and value are pointers.
#[derive(Debug)]
pub(crate) struct Place<K, V> {
    pub(crate) hash: u64,
    /// Milliseconds on the caller's clock, or [`NEVER`].
    pub(crate) expires_at: u64,
    pub(crate) bytes: u64,
    pub(crate) pair: Option<(K, V)>,
}

pub(crate) struct Slab<K, V> {
    places: Vec<Place<K, V>>,
    /// Places that held an entry once, the one to use next at the end.
    free: Vec<Slot>,
    /// No more places than this are ever needed, so none are reserved.
    limit: usize,
}

impl<K, V> Slab<K, V> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { places: Vec::new(), free: Vec::new(), limit }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// The place of an entry, if the slot holds one.
    pub(crate) fn get(&self, slot: Slot) -> Option<&Place<K, V>> {
        self.places.get(slot as usize).filter(|place| place.pair.is_some())
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut Place<K, V>> {
        self.places.get_mut(slot as usize).filter(|place| place.pair.is_some())
    }

    pub(crate) fn insert(&mut self, place: Place<K, V>) -> Slot {
        if let Some(slot) = self.free.pop() {
            self.places[slot as usize] = place;
            return slot;
        }
        let length = self.places.len();
        if length == self.places.capacity() {
            let doubled = length.max(8).min(self.limit.saturating_sub(length)).max(1);
            self.places.reserve_exact(doubled);
        }
        self.places.push(place);
        length as Slot
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> Option<Place<K, V>> {
        let place = self.places.get_mut(slot as usize)?;
        let pair = place.pair.take()?;
        self.free.push(slot);
        Some(Place { pair: Some(pair), ..*place })
    }

    /// Takes all places away and starts anew.
    pub(crate) fn take(&mut self) -> Vec<Place<K, V>> {
        self.free = Vec::new();
        std::mem::take(&mut self.places)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &K, &V)> {
        self.places.iter().filter_map(|place| {
            place.pair.as_ref().map(|(key, value)| (place.expires_at, key, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_costs_24_bytes_beside_the_two_handles() {
        assert_eq!(size_of::<Place<Box<u64>, Box<u64>>>(), 40);
    }

    #[test]
    fn places_are_reused_and_not_reserved_beyond_the_limit() {
        let mut slab = Slab::new(20);
        let place = |n: u64| Place { hash: n, expires_at: NEVER, bytes: 0, pair: Some((n, n)) };
        for n in 0..20 {
            assert_eq!(u64::from(slab.insert(place(n))), n);
        }
        assert_eq!(slab.places.capacity(), 20);
        assert!(slab.remove(7).is_some_and(|place| place.pair == Some((7, 7))));
        assert!(slab.remove(7).is_none() && slab.get(7).is_none());
        assert_eq!(slab.len(), 19);
        assert_eq!(slab.insert(place(99)), 7);
    }
}
