//! What the fuzz targets need of files: a clock of any bytes, and a store with any file in it.

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{XattrFlags, fsetxattr};
use xxhash_rust::xxh3::xxh3_64;

use super::coherence::ClockFile;
use super::layout::OWN;
use crate::key::{CaseRule, Key};
use crate::record::Stamp;

/// Opens a clock file that begins with these bytes.
pub(crate) fn clock(file: OwnedFd, data: &[u8]) {
    let (length, rest) = data.split_first().map_or((0, data), |(first, rest)| (*first, rest));
    let file = fs::File::from(file);
    // Mostly of the right length, for else nothing of it is believed.
    let whole = if length < 200 { 36_864 } else { u64::from(length) * 100 };
    let written = file.set_len(0).and_then(|()| file.set_len(whole));
    let magic = if length % 2 == 0 { &b"holdall\x01"[..] } else { b"" };
    let bytes = [magic, rest].concat();
    let end = bytes.len().min(whole as usize);
    let written =
        written.and_then(|()| std::os::unix::fs::FileExt::write_all_at(&file, &bytes[..end], 0));
    assert!(written.is_ok());
    let clock = ClockFile::open(&file.into(), [7; 16]).unwrap_or_else(|error| panic!("{error}"));
    clock.enter(3, true);
    let first = clock.next_generation(1_000);
    assert!(clock.next_generation(1_000) > first && first >= 1_000);
    clock.next_epoch();
    clock.settle();
    assert_eq!(clock.odd_stripes().count(), 0);
    let before = clock.version(5);
    clock.begin(5);
    assert_eq!(clock.version(5), None);
    clock.finish(5);
    assert_ne!(clock.version(5), before);
    assert!(!clock.is_cut());
}

/// A store for one thread, in memory where that is possible.
pub(crate) struct Store {
    path: PathBuf,
}

impl Store {
    pub(crate) fn new() -> Self {
        let number = getrandom::u64().unwrap_or(0);
        let memory = Path::new("/dev/shm");
        let above = if memory.is_dir() { memory.into() } else { std::env::temp_dir() };
        Self { path: above.join(format!("holdall-fuzz-{number:016x}")) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts a file with a stamp there; the keys that may be its.
    pub(crate) fn plant(&self, data: &[u8]) -> Vec<String> {
        const ENDINGS: [&str; 10] =
            [".json", ".txt", ".bin", ".npy", ".pkl", ".joblib", ".json.zst", ".bin.lz4", ".x", ""];
        let [choice, kind, split, rest @ ..] = data else { return Vec::new() };
        let (stamp, content) = rest.split_at(usize::from(*split).min(rest.len()));
        let stem = ["k", "a/k", "%2E", "K", "other"][usize::from(*kind) % 5];
        let path = self.path.join(format!("{stem}{}", ENDINGS[usize::from(*choice) % 10]));
        let _ = path.parent().map(fs::create_dir_all);
        // That value is to stay, whatever else claims its key.
        let there = path == self.path.join("other.json");
        if !there && fs::write(&path, content).is_ok() {
            self.stamp(&path, stamp, kind & 0x80 != 0, stem);
        }
        self.keys()
    }

    fn stamp(&self, path: &Path, stamp: &[u8], is_ours: bool, stem: &str) {
        let stamped = self.path.join("other.json");
        let mut bytes = stamp.to_vec();
        if is_ours {
            // A stamp of this store for this very key, with whatever follows in it.
            let mut own = [0_u8; 256];
            let length = rustix::fs::getxattr(&stamped, "user.holdall", &mut own).unwrap_or(0);
            let mut whole = own[..length.saturating_sub(4)].to_vec();
            let hash = Key::new(&stem.replace("%2E", ".")).map_or(0, |key| key.hash());
            if whole.len() >= 32 {
                whole[8..16].copy_from_slice(&hash.to_le_bytes());
                whole.truncate(16 + stamp.first().map_or(16, |one| usize::from(*one) % 20));
                whole.extend_from_slice(stamp);
            }
            bytes = whole;
        }
        bytes.extend_from_slice(&(xxh3_64(&bytes) as u32).to_le_bytes());
        let _ = Stamp::decode(&bytes);
        if let Ok(file) = fs::File::options().write(true).open(path) {
            let _ = fsetxattr(file.as_fd(), "user.holdall", &bytes, XattrFlags::empty());
        }
    }

    /// The keys that [`Store::plant`] uses, but for the one whose value stays.
    pub(crate) fn keys(&self) -> Vec<String> {
        ["k", "a/k", ".", "K"].map(str::to_owned).to_vec()
    }

    /// Removes what is left.
    pub(crate) fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.path) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if name == OWN || name == "other.json" {
                continue;
            }
            if fs::remove_file(entry.path()).is_err() {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        debug_assert_eq!(
            Key::new("k").map(|key| key.name(CaseRule::Sensitive)).ok(),
            Some("k".into())
        );
        let _ = fs::remove_dir_all(&self.path);
    }
}
