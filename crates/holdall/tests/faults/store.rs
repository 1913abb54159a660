//! Stores to begin with, and what is known of them.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdall::signing::KeySource;
use holdall::{BlobManager, BlobOptions, Durability, Format, SaveOptions};

/// What a load has to give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) format: Format,
    pub(crate) payload: Vec<u8>,
}

/// The values of a store, by key.
pub(crate) type Values = BTreeMap<String, Value>;

pub(crate) const INLINE_BELOW: u64 = 500;

pub(crate) fn options(folder: &Path) -> BlobOptions {
    BlobOptions {
        base_path: folder.into(),
        signing_key: KeySource::text("a secret of the tests alone").expect("long enough"),
        lock_timeout: Duration::from_secs(2),
        ..BlobOptions::default()
    }
}

/// A payload of a length, which tells for which key it was made.
pub(crate) fn payload(word: &str, length: usize) -> Vec<u8> {
    format!("\"{word} ")
        .into_bytes()
        .into_iter()
        .chain(std::iter::repeat(b'.'))
        .take(length)
        .collect()
}

pub(crate) fn value(format: Format, word: &str, length: usize) -> Value {
    Value { format, payload: payload(word, length) }
}

pub(crate) fn save(
    store: &BlobManager,
    key: &str,
    value: &Value,
    durability: Option<Durability>,
) -> holdall::Result<()> {
    let options = SaveOptions { durability, tags: vec!["all".into()], ..SaveOptions::default() };
    let parts = vec![value.payload.clone().into()];
    store.save_parts(key, value.format, parts, options).map(drop)
}

/// What stands beside the keys that the scenarios change.
pub(crate) fn neighbours() -> Values {
    let values = [
        ("beside", value(Format::Json, "beside", 40)),
        ("folder/beside", value(Format::Bytes, "folder/beside", 3_000)),
        ("inline/beside", value(Format::String, "inline/beside", 60)),
    ];
    values.map(|(key, value)| (key.to_owned(), value)).into()
}

/// A manager that keeps small values inline, if that is wanted.
pub(crate) fn manager(folder: &Path, inline: bool, options: BlobOptions) -> BlobManager {
    let inline_below = if inline { INLINE_BELOW } else { 0 };
    BlobManager::with_options(BlobOptions { base_path: folder.into(), inline_below, ..options })
}

/// Copies a store, with the records of its files. It is found as its last user has left it.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("made");
    for entry in fs::read_dir(from).expect("there") {
        let entry = entry.expect("read");
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target);
            continue;
        }
        fs::copy(&source, &target).expect("copied");
        let (file, copied) = (
            fs::File::open(&source).expect("there"),
            fs::File::options().write(true).open(&target),
        );
        let copied = copied.expect("there");
        let mut stamp = [0; 4_096];
        if let Ok(length) = rustix::fs::fgetxattr(&file, "user.holdall", &mut stamp[..]) {
            let set = rustix::fs::XattrFlags::empty();
            rustix::fs::fsetxattr(copied.as_fd(), "user.holdall", &stamp[..length], set)
                .expect("set");
        }
        let modified = file.metadata().and_then(|found| found.modified()).expect("known");
        copied.set_modified(modified).expect("set");
    }
}

/// The files and folders below a folder that some predicate likes.
pub(crate) fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(below(&path));
        }
        found.push(path);
    }
    found
}
