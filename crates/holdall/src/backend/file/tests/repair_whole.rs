//! Repairs that meet something else than the damage: nothing that is whole is lost or hidden by it.

use std::env;
use std::process::{Command, Stdio};

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::repair::cured;
use super::verify::*;
use super::*;
use crate::backend::health::{Problem, ProblemKind, RepairReport};

const DATABASE: &str = ".holdall/inline/values.sqlite";
const NAMES: [&str; 3] = ["a", "b", "c"];

fn mended(backend: &FileBackend, found: &VerifyReport) -> Result<RepairReport> {
    let inspect = |_: &Key, _: &Record, _: &dyn Reading| Ok(None);
    backend.mend(found, &inspect, false)
}

/// Not a test: what the test below runs in a process of its own, whose limit it lowers.
#[test]
#[ignore = "only its parent runs it"]
fn repair_for_want_of_descriptors() {
    let before = getrlimit(Resource::Nofile);
    for more in 1..16 {
        let it = inline_with("DROP TABLE tag");
        let found = verified(&it.backend);
        let highest = fs::read_dir("/proc/self/fd").expect("listed").count() as u64;
        let limit = Rlimit { current: Some(highest + more), maximum: before.maximum };
        setrlimit(Resource::Nofile, limit).expect("lowered");
        let done = mended(&it.backend, &found);
        setrlimit(Resource::Nofile, before).expect("raised");
        println!("{more} more: {:?}", done.map(|done| done.quarantined.len()));
        cured(&it.backend);
        for name in NAMES {
            assert!(it.get(name).expect("read").is_some(), "{more} more: {name} is lost");
        }
    }
}

#[test]
fn inline_values_that_cannot_be_read_for_want_of_descriptors_are_not_left_behind() {
    let this = env::current_exe().expect("a test binary has a path");
    let helper = "backend::file::tests::repair_whole::repair_for_want_of_descriptors";
    let mut command = Command::new(this);
    command.args(["--exact", helper, "--ignored", "--test-threads=1"]).stdin(Stdio::null());
    let ended = command.output().expect("run");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
}

#[test]
fn a_damaged_file_beside_a_whole_one_does_not_unlist_their_key() {
    let it = filled();
    fs::copy(it.path("a.json"), it.path("a.txt")).expect("copied");
    let mut stamp = stamp_of(&it.path("a.json"));
    stamp[9] ^= 1;
    set_stamp(&it.path("a.txt"), &stamp);
    let done = cured(&it.backend);
    assert_eq!(done.quarantined.len(), 1, "{done:?}");
    assert!(!it.path("a.txt").exists());
    assert_eq!(it.get("a").expect("read").expect("there").content, b"[1, 2, 3]");
    assert_eq!(it.backend.list("", None, 9).expect("listed").len(), 3);
    assert_eq!(it.backend.totals().expect("counted").entries, 3);
}

#[test]
fn a_draft_that_a_killed_repair_left_costs_nothing_that_is_kept_aside() {
    let it = inline_with("DROP TABLE tag");
    fs::write(it.path(".holdall/inline/draft"), "").expect("written");
    let done = cured(&it.backend);
    let aside = done.quarantined[0].folder.join("inline/values.sqlite");
    assert!(aside.exists(), "the old database is gone");
}

/// Repairs while a file cannot be changed; `None` where that cannot be had.
fn mended_while_immutable(it: &Fixture, path: &str) -> Option<RepairReport> {
    let file = fs::File::open(it.path(path)).expect("opened");
    let fixed = ioctl_getflags(&file)
        .and_then(|flags| ioctl_setflags(&file, flags | IFlags::IMMUTABLE).map(|()| flags));
    let Ok(flags) = fixed else {
        eprintln!("not run: no file can be made immutable here");
        return None;
    };
    let done = mended(&it.backend, &verified(&it.backend));
    ioctl_setflags(&file, flags).expect("given back");
    Some(done.expect("repaired as far as possible"))
}

#[test]
fn a_file_that_cannot_be_moved_does_not_end_the_repair() {
    let it = filled();
    damage(&it.path("a.json"), |content| content[1] ^= 1);
    damage(&it.path("f/b.json"), |content| content[1] ^= 1);
    fs::write(it.path(".holdall/tmp/dead"), "x").expect("written");
    let Some(done) = mended_while_immutable(&it, "a.json") else { return };
    assert_eq!((done.quarantined.len(), done.swept.len(), done.kept.len()), (1, 1, 1), "{done:?}");
    assert_eq!(done.kept[0].key.as_deref(), Some("a"));
    assert!(done.kept[0].what.contains("not set right"), "{done:?}");
    assert_eq!(cured(&it.backend).quarantined.len(), 1);
}

#[test]
fn an_older_file_stays_while_the_damaged_newer_one_cannot_be_moved() {
    let it = filled();
    let (old, stamp) = (fs::read(it.path("a.json")).expect("there"), stamp_of(&it.path("a.json")));
    it.put("a", Format::String, "newer");
    fs::write(it.path("a.json"), old).expect("written");
    set_stamp(&it.path("a.json"), &stamp);
    damage(&it.path("a.txt"), |content| content[0] ^= 1);
    let Some(done) = mended_while_immutable(&it, "a.txt") else { return };
    assert!(!done.rebuilt && it.path("a.json").exists(), "{done:?}");
    assert_eq!(done.kept.len(), 2, "{done:?}");
}

#[test]
fn an_inline_value_whose_date_is_noted_wrongly_is_listed_again_and_not_taken_out() {
    let it = inline_with("UPDATE entry SET expires_at = 5 WHERE key = CAST('b' AS BLOB)");
    let done = cured(&it.backend);
    assert_eq!((done.mended.len(), done.quarantined.len()), (1, 0), "{done:?}");
    assert_eq!(it.backend.list("", None, 9).expect("listed").len(), 3);
}

#[test]
fn inline_rows_without_a_key_go_aside_with_their_database() {
    for key in ["x'ff'", "''", "17"] {
        let it = inline_with(&format!("UPDATE entry SET key = {key} WHERE key = x'62'"));
        let done = cured(&it.backend);
        assert_eq!((done.mended.len(), done.quarantined.len()), (0, 1), "{key}: {done:?}");
        assert!(done.quarantined[0].folder.join("inline/values.sqlite").exists(), "{key}");
        let listed = it.backend.list("", None, 9).expect("listed");
        assert_eq!(listed.len(), 2, "{key}");
    }
}

#[test]
fn reports_of_many_problems_are_made_in_time_proportional_to_their_number() {
    let mut report = VerifyReport::default();
    let clock = crate::clock::Clock::system();
    let began = clock.boot_millis();
    for number in (0..40_000).chain(0..40_000) {
        let one = Problem::new(ProblemKind::Permissions, "it is 0644, not 0600");
        report.add(one.at(format!("{DATABASE}/a/folder/with/a/long/name/{number}")));
    }
    assert_eq!(report.problems.len(), 40_000);
    // Each compared with all the others takes minutes.
    let took = clock.boot_millis() - began;
    assert!(took < 20_000, "{took} ms");
}
