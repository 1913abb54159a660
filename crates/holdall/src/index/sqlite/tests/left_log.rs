//! A log that a killed process has left, and what is damaged of it: one flipped bit costs nothing, and
//! nothing of what was saved is a miss or an older value.

use std::collections::BTreeMap;
use std::fs;

use super::super::log::{claim, frames_of};
use super::super::*;
use super::log::{kept, new_values};

const LOG: &str = "inline/values.sqlite-wal";
const NOTES: &str = "inline/values.sqlite-notes";
const HEAD: usize = 32;
const FRAME: usize = 24 + 4_096;

type Values = BTreeMap<String, String>;

/// What a process was killed over, and what it had saved.
struct Left {
    from: tempfile::TempDir,
    saved: Values,
    /// Whoever has it open, so that it is not folded in.
    _open: SqliteIndex,
}

fn name(number: usize) -> String {
    format!("key {number:03} {}", "k".repeat(if number.is_multiple_of(7) { 700 } else { 9 }))
}

fn save(values: &SqliteIndex, saved: &mut Values, key: String, content: String) {
    let old = values.value(&key).unwrap().map(|(row, _)| row);
    values.apply(&[kept(&key, &content, old)]).unwrap();
    saved.insert(key, content);
}

/// Some values in the database, and then ten commits in the log: older values, and new ones.
fn left() -> Left {
    let from = tempfile::tempdir().unwrap();
    let values = new_values(from.path());
    let mut saved = Values::new();
    for number in 0..40 {
        save(&values, &mut saved, name(number), format!("older {number}"));
    }
    values.checkpoint().unwrap();
    for number in 35..45 {
        save(&values, &mut saved, name(number), format!("newer {number}"));
    }
    Left { from, saved, _open: values }
}

impl Left {
    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.from.path().join(name)).unwrap()
    }

    /// Another folder with the same, with this log and, unless they are lost, these notes.
    fn with(&self, log: &[u8], notes: Option<&[u8]>) -> tempfile::TempDir {
        let to = tempfile::tempdir().unwrap();
        fs::create_dir(to.path().join("inline")).unwrap();
        let database = "inline/values.sqlite";
        fs::copy(self.from.path().join(database), to.path().join(database)).unwrap();
        fs::write(to.path().join(LOG), log).unwrap();
        if let Some(notes) = notes {
            fs::write(to.path().join(NOTES), notes).unwrap();
        }
        to
    }

    /// As if the process had been killed in that folder, on this machine.
    fn killed_with(&self, log: &[u8]) -> tempfile::TempDir {
        let to = self.with(log, Some(&self.read(NOTES)));
        claim(&to.path().join(LOG));
        to
    }

    /// Panics if something that was saved is not there.
    fn assert_whole(&self, folder: &Path, what: &str) {
        let values = new_values(folder);
        for (key, content) in &self.saved {
            let found = values.value(key).unwrap_or_else(|error| panic!("{what}: {error}"));
            let (_, found) = found.unwrap_or_else(|| panic!("{what}: {key} is missing"));
            assert_eq!(found, content.as_bytes(), "{what}: {key}");
        }
        assert_eq!(values.totals().unwrap().entries, self.saved.len() as u64, "{what}");
    }
}

/// A transaction that writes more than SQLite keeps in memory, and pages of it twice.
fn spill(values: &SqliteIndex, commit: bool) {
    let work = |writer: &mut Connection| {
        let transaction = writer.transaction()?;
        transaction.execute_batch(
            "CREATE TEMP TABLE numbers AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL \
             SELECT i + 1 FROM n WHERE i < 900) SELECT i FROM n;",
        )?;
        for round in ["z", "y", "z"] {
            let sql = "INSERT OR REPLACE INTO tag SELECT CAST(?1 || i AS BLOB), \
                       zeroblob(6000) FROM numbers";
            transaction.execute(sql, [round])?;
        }
        transaction.execute_batch("DELETE FROM tag; DROP TABLE numbers;")?;
        let ended = if commit { transaction.commit() } else { transaction.rollback() };
        Ok(ended?)
    };
    values.write(work).unwrap();
}

#[test]
fn one_flipped_bit_of_a_log_that_was_left_costs_nothing() {
    let left = left();
    let whole = left.read(LOG);
    left.assert_whole(left.with(&whole, None).path(), "whole");
    let bits = (0..HEAD * 8).step_by(9);
    let in_heads =
        (HEAD..whole.len()).step_by(FRAME).flat_map(|at| (at * 8..at * 8 + 192).step_by(131));
    let in_pages = (HEAD * 8..whole.len() * 8).step_by(49_999);
    let mut flips = 0;
    for bit in bits.chain(in_heads).chain(in_pages) {
        let mut log = whole.clone();
        log[bit / 8] ^= 1 << (bit % 8);
        // A copy, whose notes accuse nobody.
        let folder = left.with(&log, Some(&left.read(NOTES)));
        left.assert_whole(folder.path(), &format!("bit {bit} of {}", whole.len() * 8));
        flips += 1;
    }
    assert!(flips > 80, "{flips}");
}

#[test]
fn more_damage_of_a_log_that_was_left_is_an_error_and_no_older_value() {
    let left = left();
    let whole = left.read(LOG);
    let frames = frames_of(&whole);
    assert!((20..60).contains(&frames), "{frames}");
    let mut harmed: Vec<(String, Vec<u8>)> = Vec::new();
    for frame in 0..frames {
        let begin = HEAD + frame * FRAME;
        let mut two = whole.clone();
        two[begin + 100] ^= 1;
        two[begin + 3_000] ^= 64;
        harmed.push((format!("two bits of frame {frame}"), two));
        let mut sector = whole.clone();
        sector[begin + 512..begin + 1_024].fill(0xaa);
        harmed.push((format!("a sector of frame {frame}"), sector));
        for length in [begin, begin + 1, begin + FRAME - 1] {
            harmed.push((format!("cut at {length}"), whole[..length].to_vec()));
        }
    }
    harmed.push(("cut to nothing".into(), Vec::new()));
    for (what, log) in harmed {
        let folder = left.killed_with(&log);
        let error = new_values(folder.path()).value(&name(1)).expect_err(&what);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
        // A copy of it is judged as after a power cut, which leaves the same.
        let copy = left.with(&log, Some(&left.read(NOTES)));
        assert!(new_values(copy.path()).value(&name(1)).is_ok(), "{what}");
    }
}

#[test]
fn notes_that_are_damaged_or_lost_cost_nothing() {
    let left = left();
    let (log, whole) = (left.read(LOG), left.read(NOTES));
    left.assert_whole(left.with(&log, None).path(), "lost");
    for at in (0..whole.len()).step_by(13) {
        let mut notes = whole.clone();
        notes[at] ^= 0x10;
        left.assert_whole(left.with(&log, Some(&notes)).path(), &format!("byte {at}"));
        left.assert_whole(left.with(&log, Some(&whole[..at])).path(), &format!("cut at {at}"));
    }
    for content in [&[][..], b"of somebody else", &[0; 10_000]] {
        left.assert_whole(left.with(&log, Some(content)).path(), "of somebody else");
    }
}

#[test]
fn what_lies_in_the_place_of_the_notes_is_in_nobodys_way() {
    for planted in ["folder", "link", "pipe"] {
        let folder = tempfile::tempdir().unwrap();
        let (inline, notes) = (folder.path().join("inline"), folder.path().join(NOTES));
        fs::create_dir(inline).unwrap();
        match planted {
            "folder" => fs::create_dir(&notes).unwrap(),
            "link" => std::os::unix::fs::symlink("/dev/full", &notes).unwrap(),
            _ => rustix::fs::mkfifoat(rustix::fs::CWD, &notes, 0o600.into()).unwrap(),
        }
        let values = new_values(folder.path());
        values.apply(&[kept("a", "1", None)]).unwrap();
        values.close().unwrap();
        assert!(values.value("a").unwrap().is_some(), "{planted}");
    }
}

#[test]
fn each_frame_of_a_large_or_a_rolled_back_transaction_has_its_note() {
    let from = tempfile::tempdir().unwrap();
    let values = new_values(from.path());
    let mut saved = Values::new();
    save(&values, &mut saved, name(0), "first".into());
    values.checkpoint().unwrap();
    // More than SQLite keeps in memory, so that it writes pages of it twice.
    let many: Vec<_> =
        (0..900).map(|number| (format!("large {number}"), "x".repeat(9_000))).collect();
    let changes: Vec<_> = many.iter().map(|(key, content)| kept(key, content, None)).collect();
    let spill = |commit| spill(&values, commit);
    spill(false);
    save(&values, &mut saved, name(1), "after a rollback".into());
    spill(true);
    values.apply(&changes).unwrap();
    saved.extend(many);
    save(&values, &mut saved, name(2), "last".into());
    let left = Left { from, saved, _open: values };
    let whole = left.read(LOG);
    let frames = frames_of(&whole);
    assert!(frames > 2_000, "{frames}");
    for frame in (0..frames).step_by(frames / 12) {
        let at = [5, 18, 24 + frame % 4_096][frame % 3];
        let mut log = whole.clone();
        log[HEAD + frame * FRAME + at] ^= 8;
        let folder = left.with(&log, Some(&left.read(NOTES)));
        left.assert_whole(folder.path(), &format!("byte {at} of frame {frame} of {frames}"));
    }
    let folder = left.killed_with(&whole);
    left.assert_whole(folder.path(), "whole");
}

#[test]
fn notes_go_with_their_log_and_begin_anew_with_it() {
    let mut left = left();
    left._open.checkpoint().unwrap();
    save(&left._open, &mut left.saved, name(60), "after a checkpoint".into());
    let whole = left.read(LOG);
    left.assert_whole(left.killed_with(&whole).path(), "begun anew");
    let mut log = whole.clone();
    log[HEAD + 1_000] ^= 1;
    left.assert_whole(left.killed_with(&log).path(), "begun anew, with a flipped bit");
    left._open
        .write(|writer| Ok(writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?))
        .unwrap();
    assert!(left.read(NOTES).is_empty(), "of a log without frames");
    left.assert_whole(left.with(&[], None).path(), "cut off");
    save(&left._open, &mut left.saved, name(61), "after that".into());
    assert!(!left.read(NOTES).is_empty());
    left._open.close().unwrap();
    for name in [LOG, NOTES] {
        assert!(!left.from.path().join(name).exists(), "{name}");
    }
    left.assert_whole(left.from.path(), "closed");
}

#[test]
fn a_log_that_was_left_is_gone_on_with_by_a_transaction_that_writes_pages_twice() {
    let left = left();
    let log = left.read(LOG);
    // Nothing lies behind the last frame of it.
    let folder = left.killed_with(&log[..HEAD + frames_of(&log) * FRAME]);
    let values = new_values(folder.path());
    for _ in 0..3 {
        spill(&values, true);
    }
    drop(values);
    left.assert_whole(folder.path(), "gone on with");
}

#[test]
fn notes_of_a_commit_that_another_took_the_place_of_accuse_nobody() {
    let left = left();
    let log = left.read(LOG);
    let folder = left.killed_with(&log);
    let mut notes = fs::read(folder.path().join(NOTES)).unwrap();
    let last = notes.len() - 40..;
    notes.extend_from_within(last);
    fs::write(folder.path().join(NOTES), &notes).unwrap();
    left.assert_whole(folder.path(), "behind the end");
}

#[test]
fn each_of_several_writers_notes_what_it_has_written_and_nothing_else() {
    let from = tempfile::tempdir().unwrap();
    let (one, two) = (new_values(from.path()), new_values(from.path()));
    let mut saved = Values::new();
    for number in 0..5 {
        save(&one, &mut saved, name(number), "older".into());
    }
    two.checkpoint().unwrap();
    let truncate = |values: &SqliteIndex| {
        let cut = |writer: &mut Connection| {
            Ok(writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
        };
        values.write(cut).unwrap();
    };
    truncate(&two);
    save(&one, &mut saved, name(0), "after another one has cut the log off".into());
    spill(&one, false);
    save(&two, &mut saved, name(1), "after a rollback of another one".into());
    save(&one, &mut saved, name(2), "after that".into());
    save(&two, &mut saved, name(3), "and after that".into());
    let left = Left { from, saved, _open: one };
    let whole = left.read(LOG);
    for frame in 0..frames_of(&whole) {
        let mut log = whole.clone();
        log[HEAD + frame * FRAME + 24 + frame * 7] ^= 8;
        let folder = left.with(&log, Some(&left.read(NOTES)));
        left.assert_whole(folder.path(), &format!("frame {frame}"));
    }
    left.assert_whole(left.killed_with(&whole).path(), "whole");
}

#[test]
fn who_only_reads_writes_nothing_back_and_takes_no_growing_log_for_a_cut_one() {
    let left = left();
    let mut log = left.read(LOG);
    let read = |folder: &Path| {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let database = folder.join("inline/values.sqlite");
        let connection = checksums::open(database, flags, Damage::Refused).unwrap();
        connection.query_row("SELECT count(*) FROM entry", [], |row| row.get::<_, i64>(0))
    };
    let last = HEAD + (frames_of(&log) - 1) * FRAME;
    assert!(read(left.killed_with(&log[..last]).path()).is_ok());
    log[last - 1_000] ^= 1;
    let folder = left.killed_with(&log);
    assert!(read(folder.path()).is_err());
    assert!(fs::read(folder.path().join(LOG)).unwrap() == log);
    left.assert_whole(folder.path(), "opened to be written");
}
