//! Ctrl-C in the middle of long work, two at once, and a full disk: nothing is lost, the code is the
//! documented one, and another run finishes.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use holdall::{BlobManager, Format, Migrate};
use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::support::{Ran, Scratch, ran};

const VALUES: usize = 1_500;

fn key(number: usize) -> String {
    format!("k/{number:04}")
}

/// A store of many texts.
fn many() -> Scratch {
    let scratch = Scratch::new();
    let store = scratch.blobs();
    let texts = (0..VALUES).map(|number| {
        BlobManager::encoded(&key(number), &number.to_string(), Format::String).expect("text")
    });
    assert!(store.save_many(texts.collect()).iter().all(Result::is_ok));
    store.close().expect("closed");
    scratch
}

fn started(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs")
}

/// Sends Ctrl-C as soon as something can be seen of the work, and waits for the end.
fn interrupted(command: Command, is_under_way: impl Fn() -> bool) -> Ran {
    let mut child = started(command);
    while !listens(child.id()) && child.try_wait().expect("asked").is_none() {
        std::thread::yield_now();
    }
    while !is_under_way() && child.try_wait().expect("asked").is_none() {
        std::thread::yield_now();
    }
    let id = Pid::from_child(&child);
    // It fails if it has ended, which the callers find out.
    let _ = kill_process(id, Signal::INT);
    ran(child.wait_with_output().expect("it ends"))
}

/// Whether a process has said what is to happen at Ctrl-C, as the kernel tells it.
fn listens(id: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    caught.is_some_and(|mask| mask >> (Signal::INT.as_raw() - 1) & 1 == 1)
}

/// How many files lie in a folder, which need not be there yet.
fn files(folder: &Path) -> usize {
    folder.read_dir().map_or(0, Iterator::count)
}

/// Every value is there and whole, as the text it was or as the same in JSON.
fn check_all(store: &BlobManager) {
    for number in 0..VALUES {
        let text: String = store.load(&key(number)).expect("no value is lost");
        assert_eq!(text, number.to_string());
    }
    assert!(store.verify(|_| ()).expect("verified").is_ok());
}

/// Stops a command in its middle; a machine with much to do may need several tries to be in time.
fn stopped(
    words: &[&str],
    scratch: impl Fn() -> Scratch,
    is_under_way: impl Fn(&Scratch) -> bool,
) -> Scratch {
    for _ in 0..5 {
        let scratch = scratch();
        let ran = interrupted(scratch.command(words), || is_under_way(&scratch));
        if ran.code == 0 {
            continue;
        }
        assert_eq!(ran.code, 130, "{}{}", ran.out, ran.err);
        assert!(ran.out.contains("interrupted"), "{}{}", ran.out, ran.err);
        return scratch;
    }
    panic!("{words:?} was never stopped in its middle");
}

#[test]
fn a_migration_that_is_stopped_has_lost_nothing_and_goes_on() {
    let is_json = |scratch: &Scratch| {
        let folder = scratch.path("store/k");
        folder
            .read_dir()
            .expect("there")
            .flatten()
            .any(|file| file.path().extension().is_some_and(|ending| ending == "json"))
    };
    let scratch = stopped(&["migrate", "--to", "json"], many, is_json);
    check_all(&scratch.blobs());
    let again = scratch.good(&["migrate", "--to", "json"]);
    assert!(!again.contains("converted 1,500"), "it did everything anew: {again}");
    check_all(&scratch.blobs());
    assert!(scratch.good(&["ls", "-l"]).lines().all(|line| line.contains("json")));
}

#[test]
fn a_second_migration_is_refused_while_one_is_at_work() {
    let scratch = many();
    let store = scratch.blobs();
    let to_json = Migrate { format: Some(Format::Json), ..Migrate::default() };
    let mut first = store.migration(to_json);
    assert!(first.step().expect("it is the first"), "it was over at once");
    let refused = scratch.run(&["migrate", "--compression", "zstd"]);
    assert_eq!(refused.code, 6, "{}{}", refused.out, refused.err);
    assert!(refused.out.is_empty(), "{}", refused.out);
    let told = "another migration is at work in this store; run it again when that has ended";
    assert!(refused.err.contains(told), "{}", refused.err);
    scratch.good(&["migrate", "--compression", "zstd", "--dry-run"]);
    drop(first);
    scratch.good(&["migrate", "--to", "json"]);
    check_all(&store);
}

#[test]
fn an_export_that_is_stopped_goes_on_in_the_same_folder() {
    let is_under_way = |scratch: &Scratch| files(&scratch.path("out/k")) > 0;
    let scratch = stopped(&["export", "out"], many, is_under_way);
    let out = scratch.path("out");
    assert!(!out.join("holdall-export.jsonl").exists(), "a list that has not all");
    scratch.good(&["export", "out"]);
    assert_eq!(files(&out.join("k")), VALUES);
    let list = std::fs::read_to_string(out.join("holdall-export.jsonl")).expect("written");
    assert_eq!(list.lines().count(), VALUES);
}

#[test]
fn a_copy_that_is_stopped_goes_on() {
    let is_under_way = |scratch: &Scratch| files(&scratch.path("other/k")) > 0;
    let scratch = stopped(&["copy", "--to", "other"], many, is_under_way);
    let again = scratch.good(&["copy", "--to", "other"]);
    assert!(again.contains("were there already"), "{again}");
    check_all(&BlobManager::new(scratch.path("other")));
}

#[test]
fn an_import_that_is_stopped_goes_on() {
    let from_files = || {
        let scratch = Scratch::new();
        std::fs::create_dir_all(scratch.path("files/k")).expect("ours");
        for number in 0..VALUES {
            let file = scratch.path("files").join(key(number)).with_extension("txt");
            std::fs::write(file, number.to_string()).expect("ours");
        }
        scratch
    };
    let is_under_way = |scratch: &Scratch| files(&scratch.path("store/k")) > 0;
    let scratch = stopped(&["import", "files"], from_files, is_under_way);
    let again = scratch.good(&["import", "files"]);
    assert!(again.contains("were there already"), "{again}");
    check_all(&scratch.blobs());
}

#[test]
fn a_removal_that_is_stopped_leaves_the_rest_whole() {
    let is_under_way = |scratch: &Scratch| files(&scratch.path("store/k")) < VALUES;
    let scratch = stopped(&["rm", "--prefix", "k/"], many, is_under_way);
    let store = scratch.blobs();
    let left = files(&scratch.path("store/k"));
    assert!(left > 0 && left < VALUES);
    assert_eq!(store.get_stats().expect("counted").entries, left as u64);
    assert!(store.verify(|_| ()).expect("verified").is_ok());
    scratch.good(&["rm", "--prefix", "k/"]);
    assert_eq!(scratch.good(&["ls"]), "");
}

#[test]
fn a_verification_and_a_repair_that_are_stopped_have_changed_nothing() {
    let scratch = many();
    for words in [["verify"], ["repair"]] {
        // What they do cannot be seen, so this is a moment in which they probably read.
        let some_time = || {
            std::thread::sleep(Duration::from_millis(60));
            true
        };
        let stopped = interrupted(scratch.command(&words), some_time);
        assert!([0, 130].contains(&stopped.code), "{}{}", stopped.out, stopped.err);
        check_all(&scratch.blobs());
        scratch.good(&words);
    }
}

#[test]
fn on_a_full_disk_nothing_is_lost_and_after_making_room_the_rest_is_done() {
    let scratch = Scratch::filled();
    let small = scratch.path("small");
    std::fs::create_dir_all(&small).expect("ours");
    std::fs::create_dir_all(scratch.path("files")).expect("ours");
    for number in 0..40 {
        let file = scratch.path("files").join(format!("{number}.bin"));
        std::fs::write(file, vec![b'x'; 100_000]).expect("ours");
    }
    // 2 MB take not half of the 4 MB; then there is room for all.
    let script = "mount -t tmpfs -o size=2m tmpfs small || exit 99
        H=\"$0\"
        \"$H\" import files -s small/store > out1 2> err1; echo $?
        mount -o remount,size=12m small
        \"$H\" import files -s small/store > out2 2> err2; echo $?
        \"$H\" verify -s small/store > /dev/null; echo $?
        fill=$(df --output=avail -B1 small | tail -1)
        head -c $((fill - 50000)) /dev/zero > small/fill
        for each in 'copy 1 one' 'put two files/1.bin' 'export small/out' 'migrate --to string'; do
          \"$H\" $each -s small/store 2> err3; echo $?; cat err3 >&2
        done
        rm -r small/fill small/out
        \"$H\" put two files/1.bin -q -s small/store; echo $?
        \"$H\" export small/out -q -s small/store; echo $?
        rm -r small/out
        \"$H\" migrate --to string -q -s small/store; echo $?
        \"$H\" verify -q -s small/store; echo $?";
    let around: &[&str] = match geteuid().is_root() {
        true => &["unshare", "--mount"],
        false => &["unshare", "--user", "--map-root-user", "--mount"],
    };
    let program = scratch.bare(&[]);
    let mut shell = Command::new(around[0]);
    shell.args(&around[1..]).args(["sh", "-c", script]).arg(program.get_program());
    shell.current_dir(scratch.path(".")).stdin(Stdio::null());
    let Ok(output) = shell.output() else { return println!("skipped: there is no unshare") };
    let done = ran(output);
    if done.code == 99 || !scratch.path("err1").exists() {
        return println!("skipped: this user may not mount a file system: {}", done.err);
    }
    let read = |name| std::fs::read_to_string(scratch.path(name)).expect("written");
    let first = read("err1");
    assert_eq!(first.lines().count(), 1, "{first}");
    assert!(first.contains("disk is full") && first.contains("goes on from there"), "{first}");
    assert!(read("out2").contains("were there already"), "{}", read("out2"));
    let codes: Vec<_> = done.out.lines().filter(|line| line.parse::<u8>().is_ok()).collect();
    assert_eq!(
        codes,
        ["7", "0", "0", "7", "7", "7", "7", "0", "0", "0", "0"],
        "{}{}",
        done.out,
        done.err
    );
    assert_eq!(done.err.matches("disk is full").count(), 4, "{}", done.err);
}
