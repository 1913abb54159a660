//! Judging what lies in `.holdall` besides values: rights, the clock, who signs, leftovers.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, flock, openat, statat};

use super::super::dir::{open_folder, read_small};
use super::super::layout::{OWN, is_draft};
use super::super::open::{Live, Opened};
use super::super::own::fingerprint_in;
use super::super::repair::{DRAFT, NOTE};
use crate::backend::health::{Problem, ProblemKind};
use crate::clock::Clock;
use crate::index::SqliteIndex;

/// Something in `.holdall` that nobody seems to need: its path below the base, and its inode.
pub(in super::super) type Loose = (String, u64);

/// The entries of a folder: name, kind and inode. One that cannot be read is empty.
pub(in super::super) fn entries(folder: &OwnedFd) -> Vec<(String, FileType, u64)> {
    let Ok(entries) = Dir::read_from(folder) else { return Vec::new() };
    let named = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().to_str().ok()?.to_owned();
        (!matches!(&*name, "." | "..")).then(|| (name, entry.file_type(), entry.ino()))
    });
    named.collect()
}

impl Opened {
    /// Adds what is wrong with rights and owners of the store's own folders and files.
    pub(super) fn examine_rights(&self, owner: u32, found: &mut Vec<Problem>) {
        let mut folders = vec![OWN.to_owned()];
        while let Some(folder) = folders.pop() {
            let Ok(opened) = open_folder(self.base.as_fd(), &folder) else { continue };
            if let Ok(stat) = rustix::fs::fstat(&opened) {
                rights(&stat, 0o700, owner, &folder, found);
            }
            for (name, ..) in entries(&opened) {
                let path = format!("{folder}/{name}");
                let Ok(stat) = statat(&opened, &*name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
                match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Directory => folders.push(path),
                    // What is kept aside keeps its rights; nobody else can come to it.
                    _ if folder.starts_with(&format!("{OWN}/quarantine/")) => {}
                    FileType::RegularFile => rights(&stat, 0o600, owner, &path, found),
                    _ => {
                        let what = "something that is no file lies among the store's own";
                        found.push(Problem::new(ProblemKind::Blocked, what).at(path));
                    }
                }
            }
        }
    }

    /// Adds what is wrong with the clock, the locks, and the note of who signs.
    pub(super) fn examine_clock(&self, live: &Live, found: &mut Vec<Problem>) {
        if let Some(why) = live.clock.remade() {
            found.push(Problem::new(ProblemKind::ClockRemade, why).at(format!("{OWN}/clock")));
        }
        let here = |name: &str| {
            let stat = statat(&live.own, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            Some((stat.st_dev, stat.st_ino))
        };
        let locks = rustix::fs::fstat(live.locks.file()).ok();
        let locks = locks.map(|stat| (stat.st_dev, stat.st_ino));
        let used = [("clock", live.clock.identity()), ("locks", locks)];
        for (name, used) in used.into_iter().filter(|_| live.coherent) {
            if used.is_some() && here(name) != used {
                let what = format!("somebody has replaced or removed .holdall/{name}");
                let problem = Problem::new(ProblemKind::ClockReplaced, what);
                found.push(problem.at(format!("{OWN}/{name}")));
            }
        }
        let odd = live.clock.odd_stripes();
        let dead = odd.filter(|stripe| {
            matches!(live.locks.try_lock(*stripe), Ok(Some(_))
            if live.clock.is_odd(*stripe))
        });
        match dead.count() {
            0 => {}
            count => {
                let what = format!("{count} of its stripes are marked by nobody who lives");
                let problem = Problem::new(ProblemKind::DeadWriter, what);
                found.push(problem.at(format!("{OWN}/clock")));
            }
        }
    }

    /// Adds what is wrong with the note of who signs.
    pub(super) fn examine_signer(&self, live: &Live, found: &mut Vec<Problem>) {
        let note = format!("{OWN}/signer");
        match read_small(live.own.as_fd(), "signer", 4_096) {
            Ok(None) => {}
            Ok(Some(text))
                if std::str::from_utf8(&text).is_ok_and(|text| fingerprint_in(text).is_some()) => {}
            Ok(Some(_)) => {
                let what = "it holds no fingerprint of a key";
                found.push(Problem::new(ProblemKind::SignerDamaged, what).at(note));
            }
            Err(error) => {
                let what = format!("it cannot be read: {error}");
                found.push(Problem::new(ProblemKind::Unreadable, what).at(note));
            }
        }
    }

    /// What nobody seems to need at this moment. What is being made may be among it: only what is
    /// still there at a second look was left behind.
    pub(in super::super) fn loose(&self, live: &Live) -> Vec<Loose> {
        let mut loose = Vec::new();
        let is_alone = live.is_alone();
        // Only what nobody can be at work on, or was not for long.
        let is_old = |folder: &OwnedFd, name: &str| is_alone || is_old(folder, name);
        for (name, _, inode) in entries(&live.own) {
            if is_draft(&name) && is_old(&live.own, &name) {
                loose.push((format!("{OWN}/{name}"), inode));
            }
        }
        for (name, kind, inode) in entries(&live.temporary) {
            if kind != FileType::Directory
                && is_old(&live.temporary, &name)
                && !is_in_use(&live.temporary, &name, inode)
            {
                loose.push((format!("{OWN}/tmp/{name}"), inode));
            }
        }
        let folder = |name: &str| open_folder(live.own.as_fd(), name).ok();
        if let Some(folder) = folder("inline") {
            let drafts = entries(&folder).into_iter();
            let drafts =
                drafts.filter(|(name, ..)| SqliteIndex::is_draft(name) && is_old(&folder, name));
            loose.extend(drafts.map(|(name, _, inode)| (format!("{OWN}/inline/{name}"), inode)));
        }
        if live.coherent
            && let Some(folder) = folder("index")
        {
            let epoch = live.clock.epoch().to_string();
            let others = entries(&folder).into_iter().filter(|(name, ..)| *name != epoch);
            loose.extend(others.map(|(name, _, inode)| (format!("{OWN}/index/{name}"), inode)));
        }
        if let Some(folder) = folder("stamps") {
            let halves = entries(&folder).into_iter().filter(|(name, ..)| name.ends_with(".new"));
            loose.extend(halves.map(|(name, _, inode)| (format!("{OWN}/stamps/{name}"), inode)));
        }
        if let Some(folder) = folder("quarantine") {
            for (name, _, inode) in entries(&folder) {
                let Ok(item) = open_folder(folder.as_fd(), &name) else { continue };
                // A repair that was killed before it moved anything.
                let is_draft = |name: &str| {
                    let draft = format!("{name}/{DRAFT}");
                    statat(&item, &*draft, AtFlags::SYMLINK_NOFOLLOW).is_ok()
                };
                let left = entries(&item);
                if left.iter().all(|(name, ..)| name == NOTE || is_draft(name))
                    && is_old(&folder, &name)
                {
                    loose.push((format!("{OWN}/quarantine/{name}"), inode));
                }
            }
        }
        loose
    }

    /// The inodes that have stamps in files of their own, without those of files in the making.
    pub(in super::super) fn stamped_inodes(&self, live: &Live) -> Vec<u64> {
        let Ok(folder) = open_folder(live.own.as_fd(), "stamps") else { return Vec::new() };
        // In this order: what is placed meanwhile is found by the walk that follows.
        let stamps = entries(&folder);
        let making: Vec<u64> = entries(&live.temporary).into_iter().map(|entry| entry.2).collect();
        let inodes = stamps.iter().filter_map(|(name, ..)| u64::from_str_radix(name, 16).ok());
        inodes.filter(|inode| !making.contains(inode)).collect()
    }

    /// The hashes under which the texts of long keys are kept.
    pub(super) fn kept_keys(&self, live: &Live) -> Vec<String> {
        let Ok(folder) = open_folder(live.own.as_fd(), "keys") else { return Vec::new() };
        entries(&folder).into_iter().map(|(name, ..)| name).collect()
    }
}

fn rights(stat: &rustix::fs::Stat, mode: u32, owner: u32, path: &str, found: &mut Vec<Problem>) {
    let is = stat.st_mode & 0o777;
    if is != mode {
        let what = format!("it is {is:04o}, not {mode:04o}");
        found.push(Problem::new(ProblemKind::Permissions, what).at(path));
    }
    if stat.st_uid != owner {
        let what = format!("it belongs to user {}, not {owner}", stat.st_uid);
        found.push(Problem::new(ProblemKind::Owner, what).at(path));
    }
}

/// Whether it was not changed for a minute.
fn is_old(folder: &OwnedFd, name: &str) -> bool {
    const MINUTE: i64 = 60;
    let now = i64::try_from(Clock::system().wall_micros() / 1_000_000).unwrap_or(i64::MAX);
    statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| now.saturating_sub(stat.st_ctime) > MINUTE)
}

/// Whether a writer that lives has the temporary file open, or has just exchanged it for another.
fn is_in_use(folder: &OwnedFd, name: &str, inode: u64) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match openat(folder, name, flags, Mode::empty()) {
        // Shared, and at once given back with the descriptor: whoever makes a file at this moment
        // takes another name.
        Ok(file) => {
            rustix::fs::fstat(&file).is_ok_and(|stat| stat.st_ino != inode)
                || flock(&file, FlockOperation::NonBlockingLockShared).is_err()
        }
        // It is gone, or cannot be opened, and then nobody sweeps it.
        Err(_) => true,
    }
}

impl Opened {
    /// Whether no file has the key whose text is kept under this hash.
    pub(in super::super) fn is_orphan(&self, live: &Live, digest: &str) -> bool {
        let Some(text) = live.long_key(digest) else { return false };
        let Ok(key) = crate::key::Key::new(&text) else { return true };
        let Ok(Some(_guard)) = live.locks.try_lock(key.stripe()) else { return false };
        self.is_unused_key(live, digest)
    }

    /// The same, of a key whose lock is held.
    pub(in super::super) fn is_unused_key(&self, live: &Live, digest: &str) -> bool {
        let Some(text) = live.long_key(digest) else { return false };
        let Ok(key) = crate::key::Key::new(&text) else { return true };
        let stem = key.name(self.case_rule());
        stem.rsplit_once("%=").is_none_or(|(_, own)| own != digest)
            || !Self::paths_of(&stem).iter().any(|path| {
                !matches!(super::super::dir::open_file(self.base.as_fd(), path), Ok(None))
            })
    }
}

impl Live {
    /// Whether no other process has the store open at this moment.
    fn is_alone(&self) -> bool {
        self.as_last_user(|| Ok(())).unwrap_or(false)
    }
}
