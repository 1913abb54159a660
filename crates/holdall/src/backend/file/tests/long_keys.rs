//! The texts of keys that neither a name nor a stamp can hold: they go with the last file.

use std::cell::RefCell;
use std::os::unix::fs::DirEntryExt as _;
use std::rc::Rc;

use super::verify::{set_stamp, stamp_of};
use super::*;
use crate::flush::tests_support::{FlushLog, fail_flush};

fn long(letter: char) -> String {
    format!("long/{}", letter.to_string().repeat(1_500))
}

fn texts(it: &Fixture) -> usize {
    fs::read_dir(it.path(".holdall/keys")).map_or(0, Iterator::count)
}

#[test]
fn the_text_of_a_long_key_stays_while_it_has_a_file_and_goes_with_it() {
    let it = fixture();
    let text = long('x');
    it.put(&text, Format::Json, "1");
    it.put(&text, Format::String, "another file, by now");
    assert_eq!(texts(&it), 1);
    it.backend.delete(&key(&text), &Condition::Any, Durability::Process).expect("deleted");
    assert_eq!(texts(&it), 0);
    let durable = Put { durability: Durability::Disk, ..put(&text, Format::Json, "2") };
    it.backend.put(durable).expect("put");
    assert_eq!(texts(&it), 1);
    it.backend.clear(Durability::Process).expect("cleared");
    assert_eq!(texts(&it), 0);
}

#[test]
fn the_text_of_a_long_key_goes_when_its_value_expires_or_moves_into_the_database() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let clock = ManualClock::new();
    let options = FileOptions { clock: clock.clock(), ..FileOptions::default() };
    let backend = FileBackend::new(dir.path(), options.clone());
    let it = Fixture { dir, backend };
    let ends = Put { ttl: Some(1_000), ..put(&long('x'), Format::Json, "1") };
    it.backend.put(ends).expect("put");
    it.put(&long('y'), Format::Json, "1");
    assert_eq!(texts(&it), 2);
    clock.advance(std::time::Duration::from_secs(2));
    assert_eq!(it.backend.expire(Durability::Process).expect("done"), 1);
    assert_eq!(texts(&it), 1);
    let inline = FileBackend::new(it.dir.path(), FileOptions { inline_below: 100, ..options });
    inline.put(put(&long('y'), Format::Json, "2")).expect("put");
    assert_eq!(texts(&it), 0);
    let listed = inline.list("", None, 10).expect("listed");
    assert_eq!(listed.len(), 1);
}

#[test]
fn a_scan_removes_the_texts_that_dead_writers_have_left_and_no_other() {
    let it = fixture();
    it.put(&long('x'), Format::Json, "1");
    fs::write(it.path(".holdall/keys/left"), "behind").expect("written");
    let opened = it.backend.opened().expect("open");
    opened.live().expect("writable").clock.set_diverged(true);
    assert_eq!(it.backend.list("", None, 10).expect("listed").len(), 1);
    assert_eq!(texts(&it), 1);
}

#[test]
fn a_scan_keeps_the_text_of_a_long_key_whose_stamp_cannot_be_read() {
    let it = fixture();
    let text = long('x');
    it.put(&text, Format::Json, "1");
    let file = fs::read_dir(it.path("long")).expect("there").next().expect("one").expect("read");
    let mut stamp = stamp_of(&file.path());
    stamp[9] ^= 1;
    set_stamp(&file.path(), &stamp);
    let opened = it.backend.opened().expect("open");
    opened.live().expect("writable").clock.set_diverged(true);
    it.backend.list("", None, 10).expect("listed");
    assert_eq!(texts(&it), 1, "nothing else says whose file it is");
}

#[test]
fn the_text_of_a_long_key_whose_name_could_not_be_flushed_is_written_anew() {
    let it = fixture();
    it.put(&long('x'), Format::Json, "1");
    let durable = || {
        let put = Put { durability: Durability::Disk, ..put(&long('y'), Format::Json, "1") };
        it.backend.put(put)
    };
    let folder = it.path(".holdall/keys").canonicalize().expect("there");
    let inodes = move || -> Vec<u64> {
        let entries = fs::read_dir(&folder).expect("there");
        entries.map(|entry| entry.expect("read").ino()).collect()
    };
    // Of a new text the content, then the name; of one that is there the name.
    for fails_after in [1, 0] {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let (look, note) = (inodes.clone(), Rc::clone(&seen));
        let log = FlushLog::looking(move |path| {
            if path.ends_with(".holdall/keys") {
                *note.borrow_mut() = look();
            }
        });
        fail_flush(fails_after);
        assert_eq!(durable().expect_err("not flushed").os_error(), Some(libc::EIO));
        drop(log.end());
        // Others may need it by now. But what failed may never reach the disk, whatever a later
        // flush says.
        let left = inodes();
        assert_eq!(left.len(), 2);
        let same = left.iter().filter(|inode| seen.borrow().contains(inode)).count();
        assert_eq!((seen.borrow().len(), same), (2, 1));
    }
    durable().expect("flushed");
}

#[test]
fn the_text_of_a_long_key_is_flushed_without_a_lock_and_only_once() {
    let it = fixture();
    let text = long('x');
    let stripe = key(&text).stripe();
    let flushes = |work: &dyn Fn()| {
        let opened = it.backend.opened().expect("open");
        let seen = Rc::new(RefCell::new(0));
        let count = Rc::clone(&seen);
        let log = FlushLog::looking(move |path| {
            let locks = &opened.live().expect("writable").locks;
            assert!(locks.try_lock(stripe).expect("asked").is_some(), "{path:?} under the lock");
            *count.borrow_mut() += usize::from(path.ends_with(".holdall/keys"));
        });
        work();
        drop(log.end());
        *seen.borrow()
    };
    let durable = || {
        let put = Put { durability: Durability::Disk, ..put(&text, Format::Json, "2") };
        it.backend.put(put).expect("put");
    };
    assert_eq!(flushes(&|| drop(it.put(&text, Format::Json, "1"))), 1, "it is new");
    assert_eq!(flushes(&|| drop(it.put(&text, Format::Json, "2"))), 0);
    let _ = flushes(&durable);
    assert_eq!(flushes(&durable), 0);
    // Another process has made it, and may not have flushed it yet.
    let name = fs::read_dir(it.path(".holdall/keys")).expect("there").next().expect("one");
    let name = name.expect("read").path();
    let content = fs::read(&name).expect("there");
    fs::remove_file(&name).expect("removed");
    fs::write(&name, content).expect("made anew");
    assert_eq!(flushes(&durable), 1);
    assert_eq!(flushes(&durable), 0);
}
