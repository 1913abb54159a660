//! What lies in the folder of a store.

use std::path::{Path, PathBuf};

/// The files of a store, below its folder, without those of its own.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(here) = folders.pop() {
        for entry in std::fs::read_dir(here).expect("it is there") {
            let path = entry.expect("read").path();
            match path.is_dir() {
                true if path.ends_with(".holdall") => {}
                true => folders.push(path),
                false => found.push(path),
            }
        }
    }
    found
}

/// The names of the temporary files that are left.
#[allow(dead_code, reason = "not every test binary looks there")]
pub(crate) fn temporary_files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder.join(".holdall/tmp")).expect("it is there");
    entries.map(|entry| entry.expect("read").file_name().to_string_lossy().into_owned()).collect()
}
