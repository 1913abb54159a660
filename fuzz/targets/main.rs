//! One program for all targets: `HOLDALL_FUZZ` names the one to run.
#![no_main]

use std::sync::OnceLock;

use holdall::fuzzing::TARGETS;
use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    let target = TARGET.get_or_init(|| {
        let wanted = std::env::var("HOLDALL_FUZZ").unwrap_or_default();
        let found = TARGETS.iter().find(|(name, _)| *name == wanted);
        let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
        found.unwrap_or_else(|| panic!("HOLDALL_FUZZ is one of {names:?}")).1
    });
    target(data);
});
