//! Walking the folders: which names are keys', one folder at a time.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::AsFd as _;

use rustix::fs::{AtFlags, Dir, FileType, statat};
use rustix::io::Errno;

use super::super::dir::open_folder;
use super::super::layout::OWN;
use super::super::open::Opened;
use crate::backend::health::{Problem, ProblemKind};
use crate::error::{Error, Result};
use crate::format::split_suffix;
use crate::key::parse_name;

/// How deep folders are followed; no key makes more.
const DEPTH: usize = 40;

/// The files that may be a key's.
#[derive(Debug)]
pub(super) struct Group {
    /// Their path without suffix.
    pub(super) stem: String,
    pub(super) paths: Vec<String>,
}

/// What lies in one folder.
#[derive(Debug, Default)]
pub(in super::super) struct Folder {
    pub(super) groups: Vec<Group>,
    pub(in super::super) below: Vec<String>,
    /// Files that are no key's.
    pub(super) foreign: u64,
    pub(in super::super) inodes: Vec<u64>,
    pub(super) problems: Vec<Problem>,
    /// Others can write it, which matters if files of ours are in it.
    pub(super) open_to_others: Option<Problem>,
}

impl Opened {
    /// Lists a folder, empty for the base itself. One that has gone is empty.
    pub(in super::super) fn list_folder(&self, folder: &str) -> Result<Folder> {
        let mut found = Folder::default();
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let opened = match folder {
            "" => self.base.try_clone().map_err(|error| Error::io(error, &self.path))?,
            _ => match open_folder(self.base.as_fd(), folder) {
                Ok(opened) => opened,
                Err(Errno::NOENT | Errno::NOTDIR) => return Ok(found),
                Err(Errno::LOOP | Errno::XDEV) => return Ok(found),
                Err(_) => {
                    let what = "the folder cannot be opened";
                    found.problems.push(Problem::new(ProblemKind::Unreadable, what).at(folder));
                    return Ok(found);
                }
            },
        };
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut lower: HashMap<String, String> = HashMap::new();
        let depth = prefix.matches('/').count();
        for entry in Dir::read_from(&opened).map_err(|error| Error::io(error.into(), folder))? {
            let entry = entry.map_err(|error| Error::io(error.into(), folder))?;
            let Ok(name) = entry.file_name().to_str() else {
                found.foreign += 1;
                continue;
            };
            if matches!(name, "." | "..") || (folder.is_empty() && name == OWN) {
                continue;
            }
            let path = format!("{prefix}{name}");
            let kind = match entry.file_type() {
                FileType::Unknown => statat(&opened, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode)),
                kind => kind,
            };
            let stem = split_suffix(&path).map(|(stem, ..)| stem.to_owned());
            let stem = stem.filter(|stem| parse_name(stem, self.case_rule()).is_some());
            let is_folder = kind == FileType::Directory && !name.contains('.');
            if (is_folder || stem.is_some())
                && let Some(other) = lower.insert(name.to_lowercase(), name.to_owned())
            {
                let what = format!("{other:?} and {name:?} differ in case only");
                found.problems.push(Problem::new(ProblemKind::CaseCollision, what).at(&path));
            }
            match (stem, kind) {
                (Some(stem), kind) => {
                    if kind == FileType::RegularFile {
                        found.inodes.push(entry.ino());
                    }
                    groups.entry(stem).or_default().push(path);
                }
                (None, FileType::Directory) if is_folder && depth < DEPTH => {
                    found.below.push(path);
                }
                (None, FileType::Directory) => {}
                (None, FileType::Symlink) if !name.contains('.') && self.is_folder_name(&path) => {
                    let what = "a symbolic link has the name of a folder of keys";
                    found.problems.push(Problem::new(ProblemKind::Blocked, what).at(&path));
                }
                (None, _) => found.foreign += 1,
            }
        }
        if !folder.is_empty() && !groups.is_empty() {
            let stat = rustix::fs::fstat(&opened).map_err(|e| Error::io(e.into(), folder))?;
            if stat.st_mode & 0o022 != 0 {
                let what = format!("others can write it: it is {:04o}", stat.st_mode & 0o7777);
                found.open_to_others =
                    Some(Problem::new(ProblemKind::Permissions, what).at(folder));
            }
        }
        let groups = groups.into_iter().map(|(stem, paths)| Group { stem, paths });
        found.groups = groups.collect();
        // The first of the alphabet comes first, which is taken from the end.
        found.groups.reverse();
        Ok(found)
    }

    /// Whether keys may have a folder of this name.
    fn is_folder_name(&self, path: &str) -> bool {
        parse_name(&format!("{path}/x"), self.case_rule()).is_some()
    }
}
