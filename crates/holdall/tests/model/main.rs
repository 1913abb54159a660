//! Whatever is done to them, the managers answer as a map with clocks would.

mod blobs;
#[path = "../common/folder.rs"]
mod folder;
mod steps;
mod storage;

use proptest::prelude::ProptestConfig;

/// Some seconds; minutes with `HOLDALL_LONG`.
fn config() -> ProptestConfig {
    let cases = if std::env::var_os("HOLDALL_LONG").is_some() { 2_000 } else { 32 };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}
