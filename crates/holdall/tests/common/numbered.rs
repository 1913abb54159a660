//! Values that belong to a number, so that every part of what is found can be checked.

use std::collections::BTreeSet;
use std::path::Path;

use holdall::{BlobManager, BlobOptions, ErrorKind, Format, SaveOptions};

use super::folder::files;

/// A generator of numbers that look random and are the same in every run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % sides
    }
}

/// The formats that change hands; the three have three suffixes.
pub(crate) const FORMATS: [Format; 3] = [Format::Json, Format::String, Format::Bytes];

/// The content that belongs to a number: one of many lengths, and different at every place.
pub(crate) fn content(number: u64) -> Vec<u8> {
    let mut dice = Dice(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let lines = match dice.roll(8) {
        0 => dice.roll(12_000),
        1 | 2 => dice.roll(1_000),
        _ => dice.roll(10),
    };
    let mut text = format!("\"{number}");
    for line in 0..lines {
        text.push_str(&format!(" {line}:{:x}", dice.roll(1 << 32)));
    }
    text.push('"');
    text.into_bytes()
}

/// Saves the value of a number, with the number as metadata and tag too.
pub(crate) fn save(
    store: &BlobManager,
    key: &str,
    number: u64,
    options: SaveOptions,
) -> holdall::Result<u64> {
    let format = FORMATS[number as usize % FORMATS.len()];
    let options = SaveOptions {
        metadata: Some(number.to_string().into_bytes()),
        tags: vec![format!("number-{}", number % 5)],
        ..options
    };
    let saved = store.save_parts(key, format, vec![content(number).into()], options)?;
    Ok(saved.record().generation)
}

/// The number and the generation of a value, of which every part must belong to that number.
pub(crate) fn check(store: &BlobManager, key: &str) -> Option<(u64, u64)> {
    let blob = store.try_load_bytes(key, None).expect("whole or not there")?;
    let record = blob.metadata.record();
    let noted = record.metadata.as_deref().expect("every value has some");
    let number: u64 = std::str::from_utf8(noted).expect("text").parse().expect("a number");
    assert_eq!(blob.payload, content(number), "the content is not that of the record");
    assert_eq!(record.length, blob.payload.len() as u64);
    assert_eq!(record.format, FORMATS[number as usize % FORMATS.len()]);
    assert_eq!(record.tags, [format!("number-{}", number % 5)]);
    assert!(!record.foreign);
    Some((number, record.generation))
}

/// A manager that keeps the smaller ones of these values inline.
pub(crate) fn inline(folder: &Path) -> BlobManager {
    let base_path = folder.into();
    BlobManager::with_options(BlobOptions { base_path, inline_below: 500, ..<_>::default() })
}

/// What listings and statistics say must be what lies there.
pub(crate) fn check_index(store: &BlobManager, folder: &Path) {
    let listed: Vec<String> =
        store.keys("").collect::<Result<_, _>>().expect("the index can be read");
    let mut lying = BTreeSet::new();
    let mut size = 0;
    for key in &listed {
        match store.locate(key, None) {
            Ok((path, _)) => assert!(path.exists()),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
                size += store.metadata(key).expect("there").size;
                lying.insert(key.clone());
            }
        }
    }
    for path in files(folder) {
        size += path.metadata().expect("it is there").len();
        let name = path.strip_prefix(folder).expect("below").with_extension("");
        assert!(lying.insert(name.to_str().expect("text").to_owned()), "two files: {path:?}");
    }
    assert_eq!(listed, lying.into_iter().collect::<Vec<_>>());
    let stats = store.get_stats().expect("counted");
    assert_eq!((stats.entries, stats.total_size), (listed.len() as u64, size));
    let mut tagged = 0;
    for tag in 0..5 {
        let page = store.tagged(&format!("number-{tag}"), None, 1_000).expect("read");
        tagged += page.len();
        for found in page {
            assert_eq!(check(store, &found.key).map(|(number, _)| number % 5), Some(tag));
        }
    }
    assert_eq!(tagged, listed.len());
}
