//! First figures of the engine alone, without Python: medians of several rounds.
//!
//! `cargo bench -p holdall`, or `make bench`. Each round has a directory of its own, and all are
//! removed at the end only: on ext4 deleting thousands of files slows later saves for minutes.
#![allow(clippy::disallowed_methods, reason = "the wall clock of the machine is what is measured")]

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use holdall::clock::Ttl;
use holdall::{BlobManager, CacheManager, Format};
use serde::{Deserialize, Serialize};

const ROUNDS: usize = 5;
const VALUES: usize = 2_000;
const HITS: usize = 1_000_000;

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Recipe {
    title: String,
    servings: u32,
    steps: Vec<String>,
}

fn recipe(number: usize) -> Recipe {
    Recipe {
        title: format!("Recipe {number}"),
        servings: 4,
        steps: (0..12)
            .map(|step| format!("step {step}: stir, and wait a while, {number}"))
            .collect(),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let keys: Vec<String> = (0..VALUES).map(|number| format!("recipes/{number}")).collect();
    let bytes = serde_json::to_vec(&recipe(1))?.len();
    println!("{VALUES} values of about {bytes} bytes of JSON, median of {ROUNDS} rounds");

    let mut saves = Vec::new();
    let mut overwrites = Vec::new();
    let mut loads = Vec::new();
    let mut hits = Vec::new();
    let folders = tempfile::tempdir()?;
    for round in 0..ROUNDS {
        let store = BlobManager::new(folders.path().join(round.to_string()));
        for times in [&mut saves, &mut overwrites] {
            let begin = Instant::now();
            for (number, key) in keys.iter().enumerate() {
                store.save(key, &recipe(number), Format::Json)?;
            }
            times.push(begin.elapsed());
        }
        let begin = Instant::now();
        for key in &keys {
            black_box(store.load::<Recipe>(key)?);
        }
        loads.push(begin.elapsed());
        store.close()?;

        let cache = CacheManager::new();
        for (number, key) in keys.iter().take(1_000).enumerate() {
            cache.set(key, number, Ttl::Never)?;
        }
        let begin = Instant::now();
        for key in keys.iter().take(1_000).cycle().take(HITS) {
            black_box(cache.get(key));
        }
        hits.push(begin.elapsed());
    }
    show("save, a new key", saves, VALUES);
    show("save, an existing key", overwrites, VALUES);
    show("load", loads, VALUES);
    show("hit in memory", hits, HITS);
    Ok(())
}

fn show(what: &str, mut times: Vec<Duration>, count: usize) {
    times.sort();
    let each = times[times.len() / 2].as_secs_f64() / count as f64;
    println!("{what:<24}{:>12.3} us{:>14.0} a second", each * 1e6, 1.0 / each);
}
