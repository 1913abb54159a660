//! Explores schedules of the engine: its own sources, on threads that shuttle runs.
//!
//! `HOLDALL_SCHEDULES` says how many schedules of each property are tried at random, and how many
//! more that change threads at a few places only (PCT, Burckhardt and others 2010), for what shows
//! when somebody is very late. `HOLDALL_SEED` chooses others. A failure prints its schedule;
//! `HOLDALL_SCHEDULE` runs that again, of the property that is named. `scripts/schedules` sets them.
#![allow(clippy::unwrap_used, reason = "a test may end here")]

mod staying;

use std::env;
use std::time::Instant;

use holdall_races::properties;
use shuttle::scheduler::{PctScheduler, ReplayScheduler, UncontrolledNondeterminismCheckScheduler};
use shuttle::{Config, Runner};

use self::staying::StayingScheduler;

/// As many threads change places at most in one of the schedules of PCT.
const DEPTH: usize = 4;

fn config() -> Config {
    let mut config = Config::new();
    // SQLite and the codecs need more than a coroutine has.
    config.stack_size = 1 << 20;
    config.silence_warnings = true;
    config
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Runs a property under so many of a thousand of the schedules that are asked for.
fn explore(name: &str, share: u64, property: fn()) {
    let run = move || properties::run(property);
    if let Ok(schedule) = env::var("HOLDALL_SCHEDULE") {
        Runner::new(ReplayScheduler::new_from_encoded(&schedule), config()).run(run);
        return;
    }
    let count = (number("HOLDALL_SCHEDULES", 500) * share / 1_000).max(10) as usize;
    let seed = number("HOLDALL_SEED", 7);
    // Or a schedule that fails could not be run again.
    let checked =
        UncontrolledNondeterminismCheckScheduler::new(StayingScheduler::new_from_seed(seed, 5));
    Runner::new(checked, config()).run(run);
    let begun = Instant::now();
    println!("{name}: seed {seed}");
    let random = Runner::new(StayingScheduler::new_from_seed(seed, count), config()).run(run);
    let late = Runner::new(PctScheduler::new_from_seed(seed, DEPTH, count), config()).run(run);
    println!("{name}: {random} at random, {late} of PCT, {:.1?}", begun.elapsed());
}

macro_rules! explored {
    ($($share:literal $name:ident)*) => {
        $(#[test]
        fn $name() {
            explore(stringify!($name), $share, properties::$name);
        })*
    };
}

explored! {
    1_000 concurrent_callers_cause_one_load
    1_000 a_failed_load_is_not_kept
    1_000 a_panicking_loader_hands_over
    1_000 a_load_that_a_write_overtook_is_not_kept
    1_000 a_load_that_a_delete_overtook_is_not_kept
    1_000 a_load_that_a_clear_overtook_is_not_kept
    1_000 eviction_while_loading_keeps_the_bound_and_mixes_nothing_up
    1_000 concurrent_readers_read_once
    1_000 a_slow_read_is_not_admitted_after_a_newer_write
    400 a_slow_read_of_a_file_is_not_admitted_after_a_newer_write
    400 a_slow_read_of_an_inline_value_is_not_admitted_after_a_newer_write
    4_000 what_was_made_before_a_delete_is_not_kept_after_it
    4_000 what_was_made_before_a_clear_is_not_kept_after_it
    1_000 a_file_made_before_a_delete_is_not_kept_after_it
    400 a_file_made_before_a_clear_is_not_kept_after_it
    1_000 a_batch_with_a_key_twice_leaves_no_older_value_in_memory
    200 a_batch_with_a_key_twice_leaves_no_older_file_in_memory
    200 a_batch_with_a_key_twice_leaves_no_older_inline_value_in_memory
    1_000 a_group_commits_each_change_once
    1_000 saves_that_meet_are_each_told
    1_000 a_cancelled_save_never_comes_later
    200 jobs_that_wait_keep_no_other_from_running
    1_000 a_stripe_has_one_holder_among_threads_and_all_get_it
    1_000 a_stripe_has_one_holder_among_processes_and_all_get_it
    100 closing_while_others_work_loses_nothing
    100 a_folder_that_is_opened_twice_at_once_is_one_store
}
