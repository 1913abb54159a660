//! Schedules at random in which a thread goes on for some time.

use shuttle::scheduler::{RandomScheduler, Schedule, Scheduler, Task, TaskId};

/// In one execution of four each step may be the turn of another thread; in the others one of 4,
/// 16 or 64, so that somebody gets through all of a call between two steps of another.
#[derive(Debug)]
pub(crate) struct StayingScheduler {
    inner: RandomScheduler,
    state: u64,
    execution: usize,
}

impl StayingScheduler {
    pub(crate) fn new_from_seed(seed: u64, count: usize) -> Self {
        let inner = RandomScheduler::new_from_seed(seed, count);
        Self { inner, state: seed, execution: 0 }
    }

    /// Of numbers that are no part of the schedule (SplitMix64).
    fn is_time_to_change(&mut self) -> bool {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 32).is_multiple_of([1, 4, 16, 64][self.execution % 4])
    }
}

impl Scheduler for StayingScheduler {
    fn new_execution(&mut self) -> Option<Schedule> {
        self.execution += 1;
        self.inner.new_execution()
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        is_yielding: bool,
    ) -> Option<TaskId> {
        let stays = current.filter(|current| runnable.iter().any(|task| task.id() == *current));
        if stays.is_some() && !is_yielding && !self.is_time_to_change() {
            return stays;
        }
        self.inner.next_task(runnable, current, is_yielding)
    }

    fn next_u64(&mut self) -> u64 {
        self.inner.next_u64()
    }
}
