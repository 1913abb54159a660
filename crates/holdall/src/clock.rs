//! The one place that reads time: a system clock, and a manual one for tests.
//!
//! Two scales are needed. Wall time is what people read and what survives a reboot. Time since
//! boot never jumps when somebody sets the clock, so it decides expiry within one boot.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::sync;

/// A source of time. Cheap to clone; all clones read the same time.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Manual(Arc<ManualTime>),
}

impl Clock {
    /// The clock of the machine.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// Whether it runs by itself.
    pub(crate) fn is_system(&self) -> bool {
        matches!(self.0, Source::System)
    }

    /// Microseconds since 1970, as set on this machine; may jump when it is set.
    #[must_use]
    pub fn wall_micros(&self) -> u64 {
        match &self.0 {
            Source::System => micros(ClockId::Realtime),
            Source::Manual(time) => time.wall.load(Ordering::SeqCst),
        }
    }

    /// As [`Clock::wall_micros`], some milliseconds late and cheap to read.
    #[must_use]
    pub fn coarse_wall_micros(&self) -> u64 {
        match &self.0 {
            Source::System => micros(ClockId::RealtimeCoarse),
            Source::Manual(_) => self.wall_micros(),
        }
    }

    /// Milliseconds since this machine was started, sleep included; never goes back.
    #[must_use]
    pub fn boot_millis(&self) -> u64 {
        self.boot_micros() / 1_000
    }

    /// As [`Clock::boot_millis`], in microseconds.
    #[must_use]
    pub fn boot_micros(&self) -> u64 {
        match &self.0 {
            Source::System => sync::explored_micros().unwrap_or_else(|| micros(ClockId::Boottime)),
            Source::Manual(time) => time.boot.load(Ordering::SeqCst),
        }
    }

    /// Which boot of which machine this is: four bytes of a hash of the kernel's boot id.
    #[must_use]
    pub fn boot_id(&self) -> u32 {
        static BOOT_ID: OnceLock<u32> = OnceLock::new();
        match self.0 {
            Source::System => *BOOT_ID.get_or_init(|| {
                let id = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
                xxhash_rust::xxh3::xxh3_64(&id) as u32
            }),
            Source::Manual(_) => 0,
        }
    }

    /// Milliseconds since this machine was started, sleep included, some milliseconds coarse and
    /// cheap to read (5 ns): what a memory hit is checked against.
    #[must_use]
    pub fn coarse_millis(&self) -> u64 {
        static SLEEP: Sleep = Sleep::new();
        match &self.0 {
            Source::System => {
                let awake = micros(ClockId::MonotonicCoarse);
                let ahead = || micros(ClockId::RealtimeCoarse).wrapping_sub(awake);
                let slept = SLEEP.micros(awake, ahead, || {
                    micros(ClockId::Boottime).saturating_sub(micros(ClockId::Monotonic))
                });
                (awake + slept) / 1_000
            }
            Source::Manual(_) => self.boot_millis(),
        }
    }
}

/// How long the machine has slept. No coarse clock counts that, and the fine one that does costs
/// four times as much; but after a sleep the wall clock has run ahead of the coarse one.
struct Sleep {
    /// The tick of the coarse clock at which this was last looked at; they are milliseconds apart.
    tick: AtomicU64,
    /// How far the wall clock was ahead when it was last measured.
    ahead: AtomicU64,
    slept: AtomicU64,
}

impl Sleep {
    /// More than a tick of the coarse clocks, which are not read at once.
    const TOLERANCE: u64 = 20_000;

    const fn new() -> Self {
        Self { tick: AtomicU64::new(0), ahead: AtomicU64::new(0), slept: AtomicU64::new(0) }
    }

    /// Microseconds slept; measured anew if the wall clock has moved against the other. `ahead`,
    /// how far it is ahead, is asked once in a tick.
    fn micros(&self, tick: u64, ahead: impl FnOnce() -> u64, measure: impl FnOnce() -> u64) -> u64 {
        if self.tick.load(Ordering::Acquire) != tick {
            let ahead = ahead();
            if ahead.abs_diff(self.ahead.load(Ordering::Relaxed)) > Self::TOLERANCE {
                self.slept.fetch_max(measure(), Ordering::Relaxed);
                self.ahead.store(ahead, Ordering::Relaxed);
            }
            self.tick.store(tick, Ordering::Release);
        }
        self.slept.load(Ordering::Relaxed)
    }
}

fn micros(id: ClockId) -> u64 {
    let now = clock_gettime(id);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000
        + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::System => "Clock::system()",
            Source::Manual(_) => "ManualClock",
        })
    }
}

/// A clock that stands still until a test moves it.
///
/// ```
/// use std::time::Duration;
/// use holdall::clock::ManualClock;
///
/// let hands = ManualClock::new();
/// let clock = hands.clock();
/// let before = clock.wall_micros();
/// hands.advance(Duration::from_secs(3_600));
/// assert_eq!(clock.wall_micros() - before, 3_600_000_000);
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<ManualTime>);

#[derive(Debug)]
struct ManualTime {
    wall: AtomicU64,
    boot: AtomicU64,
}

impl ManualClock {
    /// Starts at 2024-01-01 00:00 UTC, 1,000 seconds after boot.
    #[must_use]
    pub fn new() -> Self {
        const NEW_YEAR_2024: u64 = 1_704_067_200_000_000;
        Self(Arc::new(ManualTime {
            wall: AtomicU64::new(NEW_YEAR_2024),
            boot: AtomicU64::new(1_000_000_000),
        }))
    }

    /// A clock that shows this time; hand it to the manager under test.
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock(Source::Manual(Arc::clone(&self.0)))
    }

    /// Moves both scales forward.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        self.0.wall.fetch_add(by, Ordering::SeqCst);
        self.0.boot.fetch_add(by, Ordering::SeqCst);
    }

    /// Sets the wall clock alone, as an operator or a time server would.
    pub fn set_wall_micros(&self, wall: u64) {
        self.0.wall.store(wall, Ordering::SeqCst);
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

/// How long a value lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ttl {
    /// As long as the manager's default says.
    #[default]
    Default,
    /// For ever.
    Never,
    /// For this long, counted from the write; more than zero.
    After(Duration),
}

impl Ttl {
    /// The length of life in milliseconds, at least 1; `None` is for ever.
    #[must_use]
    pub fn millis(self, default: Option<Duration>) -> Option<u64> {
        let after = match self {
            Self::Default => default?,
            Self::Never => return None,
            Self::After(after) => after,
        };
        Some(u64::try_from(after.as_millis()).unwrap_or(u64::MAX).max(1))
    }
}

impl From<Duration> for Ttl {
    fn from(after: Duration) -> Self {
        Self::After(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_the_wall_clock_does_not_move_time_since_boot() {
        let hands = ManualClock::new();
        let before = hands.clock().boot_millis();
        hands.set_wall_micros(1);
        assert_eq!(hands.clock().boot_millis(), before);
        assert_eq!(hands.clock().wall_micros(), 1);
    }

    #[test]
    fn the_system_clock_runs() {
        let clock = Clock::system();
        assert!(clock.wall_micros() > 1_700_000_000_000_000);
        assert!(clock.boot_millis() > 0);
    }

    #[test]
    fn time_that_the_machine_slept_counts() {
        let sleep = Sleep::new();
        let now = 1_700_000_000_000_000;
        assert_eq!(sleep.micros(1, || now, || 5), 5);
        let unasked = || -> u64 { unreachable!("nothing has moved") };
        assert_eq!(sleep.micros(1, unasked, unasked), 5);
        assert_eq!(sleep.micros(2, || now + 4_000, unasked), 5);
        assert_eq!(sleep.micros(3, || now + 3_600_000_000, || 3_600_000_005), 3_600_000_005);
        // Set back by an operator: sleep is not undone.
        assert_eq!(sleep.micros(4, || now, || 3_600_000_005), 3_600_000_005);
        let clock = Clock::system();
        assert!(clock.coarse_millis().abs_diff(clock.boot_millis()) < 1_000);
    }

    #[test]
    fn a_ttl_below_a_millisecond_is_one_millisecond() {
        assert_eq!(Ttl::After(Duration::from_nanos(1)).millis(None), Some(1));
        assert_eq!(Ttl::Default.millis(None), None);
        assert_eq!(Ttl::Never.millis(Some(Duration::from_secs(1))), None);
    }
}
