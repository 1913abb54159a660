//! Which clocks are mapped, and which of their pages are lost: a list that a signal handler can read.

use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

static FIRST: AtomicPtr<Watched> = AtomicPtr::new(std::ptr::null_mut());

/// A mapping in the list. Never freed, but used again by one of the same length.
pub(super) struct Watched {
    /// Its address, or 0.
    start: AtomicUsize,
    length: usize,
    /// A bit for each page.
    lost: AtomicU64,
    next: AtomicPtr<Watched>,
}

/// Keeps a mapping in the list; to be dropped before it is unmapped.
pub(crate) struct Watch(&'static Watched);

impl Watch {
    /// Watches a mapping that was just made, of at most 64 pages.
    pub(crate) fn new(start: *const u8, length: usize) -> Self {
        let start = start as usize;
        let take = |node: &&Watched| {
            node.start.compare_exchange(0, start, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        Self(all().filter(|node| node.length == length).find(take).unwrap_or_else(|| {
            let node: &'static Watched = Box::leak(Box::new(Watched {
                start: AtomicUsize::new(start),
                length,
                lost: AtomicU64::new(0),
                next: AtomicPtr::default(),
            }));
            let append = |first| {
                node.next.store(first, Ordering::Relaxed);
                Some(std::ptr::from_ref(node).cast_mut())
            };
            let _ = FIRST.fetch_update(Ordering::AcqRel, Ordering::Acquire, append);
            node
        }))
    }

    /// Whether a page of the mapping was lost. True before anything is to be read in its place.
    pub(crate) fn is_cut(&self) -> bool {
        self.0.lost.load(Ordering::Acquire) != 0
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.lost.store(0, Ordering::Relaxed);
        self.0.start.store(0, Ordering::Release);
    }
}

impl Watched {
    /// Notes that a page is lost; false if that is known.
    pub(super) fn lose(&self, page: usize) -> bool {
        let bit = 1_u64.wrapping_shl(page as u32);
        self.lost.fetch_or(bit, Ordering::AcqRel) & bit == 0
    }

    /// Takes that back.
    pub(super) fn keep(&self, page: usize) {
        self.lost.fetch_and(!1_u64.wrapping_shl(page as u32), Ordering::AcqRel);
    }
}

/// The mapping that an address is in, and where in it.
pub(super) fn find(address: usize) -> Option<(&'static Watched, usize)> {
    all().find_map(|node| {
        let start = node.start.load(Ordering::Acquire);
        let at = address.wrapping_sub(start);
        (start != 0 && at < node.length).then_some((node, at))
    })
}

fn all() -> impl Iterator<Item = &'static Watched> {
    // SAFETY: what is in the list is whole and never freed.
    let node = |at: &AtomicPtr<Watched>| unsafe { at.load(Ordering::Acquire).as_ref() };
    std::iter::successors(node(&FIRST), move |last| node(&last.next))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Memory in which nobody else can have mapped a clock.
    fn page<const LENGTH: usize>() -> Box<[u8; LENGTH]> {
        Box::new([0; LENGTH])
    }

    #[test]
    fn a_mapping_is_found_and_its_losses_are_known_while_it_is_watched_and_no_longer() {
        let (map, other) = (page::<4_097>(), page::<4_097>());
        let start = map.as_ptr() as usize;
        let watch = Watch::new(map.as_ptr(), map.len());
        let beside = Watch::new(other.as_ptr(), other.len());
        assert!(find(start - 1).is_none_or(|(node, _)| !std::ptr::eq(node, watch.0)));
        let (node, at) = find(start + 4_096).expect("its last byte");
        assert!(std::ptr::eq(node, watch.0));
        assert_eq!(at, 4_096);
        assert!(node.lose(1), "it was not known");
        assert!(!node.lose(1), "it is known");
        assert!(watch.is_cut() && !beside.is_cut());
        node.keep(1);
        assert!(!watch.is_cut());
        node.lose(63);
        drop(watch);
        assert!(find(start).is_none());
        // What takes its place in the list knows nothing of what was lost there.
        assert!(!Watch::new(map.as_ptr(), map.len()).is_cut());
    }

    #[test]
    fn threads_that_watch_and_ask_at_the_same_time_find_their_own() {
        let (threads, rounds) = if cfg!(miri) { (3, 8) } else { (8, 500) };
        let work = || {
            for round in 0..rounds {
                let map = page::<4_099>();
                let watch = Watch::new(map.as_ptr(), map.len());
                let (node, at) = find(map.as_ptr() as usize + 7).expect("it is watched");
                assert!(std::ptr::eq(node, watch.0));
                assert_eq!(at, 7);
                assert!(!watch.is_cut());
                assert!(node.lose(round % 64));
                assert!(watch.is_cut());
            }
        };
        thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    }
}
