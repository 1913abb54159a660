//! The hit ratio of every policy on traces of accesses: `FILE:SIZE,SIZE ...` after `--`.
//!
//! A trace is a sequence of keys, each a little-endian 64-bit integer. Every key counts as one
//! entry, and a miss inserts the key. Beside each policy: its points above LRU.

use std::hash::{BuildHasher as _, RandomState};
use std::process::ExitCode;

use holdall::cache::policy::POLICIES;
use holdall::cache::{Cache, CacheLimits, NewEntry, PolicyKind};

fn hit_ratio(trace: &[u64], entries: usize, policy: PolicyKind, hasher: &RandomState) -> f64 {
    let limits = CacheLimits { max_entries: entries, max_bytes: None };
    let mut cache: Cache<u64, ()> = Cache::new(limits, policy);
    let mut gone = Vec::new();
    for &key in trace {
        let hash = hasher.hash_one(key);
        if cache.get(hash, |held| *held == key, 0, &mut gone).is_none() {
            let entry = NewEntry { hash, key, value: (), bytes: 0, expires_at: None };
            cache.insert(entry, |one, other| one == other, 0, &mut gone);
        }
        gone.clear();
    }
    100.0 * cache.stats().hit_rate()
}

fn read(path: &str) -> std::io::Result<Vec<u64>> {
    let bytes = std::fs::read(path)?;
    Ok(bytes
        .chunks_exact(8)
        .map(|key| u64::from_le_bytes(key.try_into().unwrap_or([0; 8])))
        .collect())
}

fn main() -> ExitCode {
    let hasher = RandomState::new();
    let mut sums = vec![0.0; POLICIES.len()];
    let mut cells = 0.0;
    print!("{:40}", "trace and size");
    POLICIES.iter().for_each(|policy| print!("{:>12}{:>8}", policy.name, "to lru"));
    println!();
    for job in std::env::args().skip(1).filter(|job| !job.starts_with("--")) {
        let Some((path, sizes)) = job.rsplit_once(':') else {
            eprintln!("{job:?} is not FILE:SIZE,SIZE");
            return ExitCode::FAILURE;
        };
        let trace = match read(path) {
            Ok(trace) => trace,
            Err(error) => {
                eprintln!("{path}: {error}");
                return ExitCode::FAILURE;
            }
        };
        let name = path.rsplit('/').next().unwrap_or(path);
        for size in sizes.split(',') {
            let Ok(entries) = size.parse() else {
                eprintln!("{size:?} is not a number of entries");
                return ExitCode::FAILURE;
            };
            let lru = hit_ratio(&trace, entries, PolicyKind::LRU, &hasher);
            print!("{:40}", format!("{name} {entries}"));
            for (policy, sum) in POLICIES.iter().zip(&mut sums) {
                let ratio = hit_ratio(&trace, entries, *policy, &hasher);
                *sum += ratio;
                print!("{ratio:>12.2}{:>+8.2}", ratio - lru);
            }
            println!();
            cells += 1.0;
        }
    }
    print!("{:40}", "mean");
    sums.iter().for_each(|sum| print!("{:>12.2}{:8}", sum / f64::max(cells, 1.0), ""));
    println!();
    ExitCode::SUCCESS
}
