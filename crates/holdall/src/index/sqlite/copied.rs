//! A copy of a damaged database of values in which what is known is put right: the first page, which
//! is the same in all of them, and a tree whose upper pages lead nowhere.
//!
//! The damaged one itself is never written to by this, for it may be the only one that has a value.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::open::HEAD;
use crate::error::{Error, Result};

const NAME: &str = "copy.sqlite";
const LENGTH: usize = 4_096;
/// The first byte of a page that has rows of a table.
const LEAF: u8 = 13;

type Page = [u8; LENGTH];

/// The first page of a new database that nobody has open; its tables begin at the same pages in every
/// database that was made alike.
pub(super) fn first_page(database: &Path) -> Result<Box<Page>> {
    let mut page = Box::new([0; LENGTH]);
    let read = File::open(database).and_then(|file| file.read_exact_at(&mut page[..], 0));
    read.map(|()| page).map_err(|error| Error::io(error, database))
}

/// The copy; its files go with it.
pub(super) struct Copied {
    pub(super) path: PathBuf,
    first: Box<Page>,
}

impl Copied {
    /// Copies a database that nobody has open in this process, and its log, into `folder`; `None` if
    /// not even its first page is there.
    pub(super) fn make(old: &Path, folder: &Path, first: Box<Page>) -> Result<Option<Self>> {
        let copied = Self { path: folder.join(NAME), first };
        let io = |error| Error::io(error, &copied.path);
        // The log first: what another process folds in meanwhile is there twice, and nothing is
        // missing.
        match fs::copy(log_of(old), log_of(&copied.path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        if fs::copy(old, &copied.path).map_err(io)? < LENGTH as u64 {
            return Ok(None);
        }
        copied.put_first_page(2).map_err(io)?;
        Ok(Some(copied))
    }

    /// Writes the known first page; `mode` is 2 for a database with a log, else 1.
    fn put_first_page(&self, mode: u8) -> io::Result<()> {
        let file = self.open()?;
        let pages = u32::try_from(file.metadata()?.len() / LENGTH as u64).unwrap_or(u32::MAX);
        let mut page = self.first.clone();
        page[18..20].copy_from_slice(&[mode; 2]);
        page[28..32].copy_from_slice(&pages.to_be_bytes());
        let mut old = [0; HEAD];
        file.read_exact_at(&mut old, 0)?;
        if has_no_checksums(&old) {
            page[20] = 0;
        }
        // Where the unused pages are told, which nothing else knows.
        file.read_exact_at(&mut page[32..40], 32)?;
        file.write_all_at(&page[..], 0)
    }

    fn open(&self) -> io::Result<File> {
        File::options().read(true).write(true).open(&self.path)
    }

    /// The pages that may have rows of a table, first the one at which it begins, for that will be
    /// overwritten; none of them is unused. `None` if that is not known,
    /// because a removed value would come back from an unused one. Its log is folded in, and nobody
    /// has it open.
    pub(super) fn leaves(&self, root: u32) -> Result<Option<Vec<u32>>> {
        let all = || {
            if fs::symlink_metadata(log_of(&self.path)).is_ok_and(|log| log.len() > 0) {
                return Ok(None);
            }
            let file = self.open()?;
            let count = u32::try_from(file.metadata()?.len() / LENGTH as u64).unwrap_or(u32::MAX);
            let unused = if root <= count { unused(&file, count)? } else { None };
            let Some(unused) = unused else { return Ok(None) };
            // A flipped bit may have made another kind of it.
            let mut leaves = vec![root];
            let is_used = |page: &u32| *page != root && unused.binary_search(page).is_err();
            for page in (2..=count).filter(is_used) {
                let mut kind = [0];
                file.read_exact_at(&mut kind, at(page))?;
                if kind == [LEAF] {
                    leaves.push(page);
                }
            }
            self.put_first_page(1)?;
            Ok(Some(leaves))
        };
        all().map_err(|error| Error::io(error, &self.path))
    }

    /// Has the table that begins at page `root` be the rows of one leaf.
    pub(super) fn put_at_root(&self, root: u32, leaf: u32) -> Result<()> {
        let put = || {
            let (file, mut page) = (self.open()?, [0; LENGTH]);
            file.read_exact_at(&mut page, at(leaf))?;
            page[0] = LEAF;
            file.write_all_at(&page, at(root))
        };
        put().map_err(|error| Error::io(error, &self.path))
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        for end in ["", "-wal", "-shm", "-journal"] {
            let mut name = self.path.clone().into_os_string();
            name.push(end);
            // What is left lies in a draft, which the next repair removes as a whole.
            let _ = fs::remove_file(name);
        }
    }
}

/// The pages that the list of unused ones names, sorted; `None` if the list is not whole.
fn unused(file: &File, count: u32) -> io::Result<Option<Vec<u32>>> {
    let number = |offset: u64| {
        let mut bytes = [0; 4];
        file.read_exact_at(&mut bytes, offset).map(|()| u32::from_be_bytes(bytes))
    };
    let (mut trunk, expected) = (number(32)?, number(36)?);
    let mut pages = Vec::new();
    while trunk != 0 {
        if !(2..=count).contains(&trunk) || pages.len() >= expected as usize {
            return Ok(None);
        }
        pages.push(trunk);
        let named = number(at(trunk) + 4)?;
        if named as usize > LENGTH / 4 - 2 {
            return Ok(None);
        }
        for leaf in 0..u64::from(named) {
            pages.push(number(at(trunk) + 8 + 4 * leaf)?);
        }
        trunk = number(at(trunk))?;
    }
    pages.sort_unstable();
    Ok((pages.len() == expected as usize).then_some(pages))
}

/// Whether a database is of the first version, whose pages had no checksums.
fn has_no_checksums(head: &[u8; HEAD]) -> bool {
    head[20] == 0 && head[60..64] == 1_u32.to_be_bytes()
}

/// Where a page begins.
fn at(page: u32) -> u64 {
    u64::from(page - 1) * LENGTH as u64
}

fn log_of(database: &Path) -> PathBuf {
    let mut name = database.to_path_buf().into_os_string();
    name.push("-wal");
    name.into()
}
