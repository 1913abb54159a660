//! One hot path, again and again, for `benches/instructions.py` to count its instructions.
//!
//! `hot_paths NAME TIMES`. Run with two numbers of times under valgrind, the difference is that of
//! the path alone: start, set-up and end cancel out.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should stop")]

mod work;

use std::hint::black_box;
use std::time::Duration;

use holdall::Format;
use holdall::cache::PolicyKind;
use holdall::clock::Ttl;
use holdall::key::{CaseRule, Key};
use work::{KEYS, Recipe, filled_cache, recipe, stored};

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let Some(name) = arguments.next() else {
        return; // `cargo bench` runs every target; there is nothing to time here
    };
    let times: usize = arguments.next().unwrap().parse().unwrap();
    match name.as_str() {
        "cache_hit" => {
            let (cache, keys) = filled_cache(PolicyKind::default(), KEYS);
            for number in 0..times {
                black_box(cache.get(&keys[number % keys.len()]));
            }
        }
        "cache_set_full" => {
            let (cache, _) = filled_cache(PolicyKind::default(), KEYS);
            for number in 0..times {
                let ttl = Ttl::After(Duration::from_secs(60 + number as u64 % 60));
                cache.set(&format!("new:{number}"), number, ttl).unwrap();
            }
        }
        "key_encode" => {
            for _ in 0..times {
                black_box(Key::new(black_box("recipes/a b")).unwrap().name(CaseRule::Sensitive));
            }
        }
        "save_new" => {
            let (_folder, store, _) = stored(1);
            let value = recipe(1);
            for number in 0..times {
                store.save(&format!("new/{number}"), &value, Format::Json).unwrap();
            }
            store.close().unwrap();
        }
        "load" => {
            let (_folder, store, keys) = stored(10);
            for number in 0..times {
                black_box(store.load::<Recipe>(&keys[number % keys.len()]).unwrap());
            }
            store.close().unwrap();
        }
        other => panic!("there is no hot path {other}"),
    }
    work::remove_folders();
}
