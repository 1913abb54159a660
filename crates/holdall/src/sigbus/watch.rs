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
