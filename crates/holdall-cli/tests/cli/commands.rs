//! Each command does what its help says, and answers with the documented exit code.

use std::io::Write;
use std::process::Stdio;

use crate::support::{Scratch, contents, json, ran};
use serde_json::Value;

#[test]
fn a_listing_is_in_order_and_can_be_narrowed() {
    let scratch = Scratch::filled();
    assert_eq!(scratch.good(&["ls"]), "a/1\na/2\nb\n");
    assert_eq!(scratch.good(&["ls", "a/"]), "a/1\na/2\n");
    assert_eq!(scratch.good(&["ls", "--tag", "red"]), "b\n");
    assert_eq!(scratch.good(&["ls", "--after", "a/1", "-n", "1"]), "a/2\n");
    assert_eq!(scratch.good(&["ls", "--null"]), "a/1\0a/2\0b\0");
    let line = scratch.good(&["ls", "--json", "a/1"]);
    assert_eq!(json(&line)["format"], "json");
}

#[test]
fn a_hostile_key_is_escaped_where_people_read() {
    let scratch = Scratch::filled();
    scratch.blobs().save("\u{1b}[31m\n", &1, holdall::Format::Json).expect("any key");
    let out = scratch.good(&["ls", "-n", "1"]);
    assert_eq!(out, "\\u{1b}[31m\\n\n");
}

#[test]
fn a_value_is_printed_readably_or_as_it_is() {
    let scratch = Scratch::filled();
    assert_eq!(scratch.good(&["get", "a/1"]), "[1,2]\n");
    assert_eq!(scratch.good(&["get", "a/2"]), "text");
    let raw = scratch.command(&["get", "b", "--raw"]).output().expect("it runs");
    assert_eq!(raw.stdout, [0, 255]);
    scratch.good(&["get", "b", "--output", "file"]);
    assert_eq!(std::fs::read(scratch.path("file")).expect("written"), [0, 255]);
    // A file that is there is nobody's to replace, unless that is said.
    let refused = scratch.run(&["get", "a/2", "--output", "file"]);
    assert_eq!(refused.code, 6, "{}", refused.err);
    assert!(refused.err.contains("--overwrite") && !refused.err.contains("os error"));
    assert_eq!(std::fs::read(scratch.path("file")).expect("kept"), [0, 255]);
    scratch.good(&["get", "a/2", "--output", "file", "--overwrite"]);
    assert_eq!(std::fs::read(scratch.path("file")).expect("written"), b"text");
    scratch.good(&["get", "a/2", "--output", "/dev/null", "--overwrite"]);
}

#[test]
fn a_pickle_is_described_and_not_run() {
    let scratch = Scratch::filled();
    std::fs::write(scratch.path("store/evil.pkl"), b"cos\nsystem\n(S'touch ran'\ntR.")
        .expect("ours");
    let out = scratch.good(&["get", "evil"]);
    assert!(out.contains("imports  os.system"), "{out}");
    assert!(!scratch.path("ran").exists());
}

#[test]
fn put_takes_the_format_from_the_name_and_checks_the_bytes() {
    let scratch = Scratch::new();
    std::fs::write(scratch.path("value.json"), "{\"a\": 1}").expect("ours");
    scratch.good(&[
        "put",
        "k",
        "value.json",
        "--tag",
        "t",
        "--ttl",
        "1h",
        "--metadata",
        "{\"x\":1}",
    ]);
    let about = json(&scratch.good(&["stat", "k", "--json"]));
    assert_eq!(about["format"], "json");
    assert_eq!(about["tags"][0], "t");
    assert_eq!(about["metadata"]["x"], 1);
    assert!(about["expires_at"].is_string());
    std::fs::write(scratch.path("bad.json"), "{").expect("ours");
    let refused = scratch.run(&["put", "k", "bad.json"]);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("it is no json"), "{}", refused.err);
    assert_eq!(scratch.good(&["get", "k"]), "{\"a\": 1}\n");
    for (file, what) in [("nope.json", "there is no file nope.json"), (".", "is a folder")] {
        let refused = scratch.run(&["put", "k", file]);
        assert_eq!((refused.code, refused.err.lines().count()), (2, 1), "{}", refused.err);
        assert!(refused.err.contains(what) && !refused.err.contains("os error"), "{}", refused.err);
    }
}

#[test]
fn put_reads_the_standard_input_and_keeps_to_its_conditions() {
    let scratch = Scratch::filled();
    let put = |words: &[&str]| {
        let mut child = scratch
            .command(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        // What refuses its arguments does not read, and may have ended by now.
        let written = child.stdin.take().expect("a pipe").write_all(b"new");
        assert!(written.is_ok() || words.contains(&"pickle"), "it reads");
        ran(child.wait_with_output().expect("it ends"))
    };
    assert_eq!(put(&["put", "a/2", "-f", "string", "--if-absent"]).code, 6);
    assert_eq!(scratch.good(&["get", "a/2"]), "text");
    let etag = json(&scratch.good(&["stat", "a/2", "--json"]))["etag"].clone();
    let etag = etag.as_str().expect("a text");
    assert_eq!(put(&["put", "a/2", "-f", "string", "--if-match", etag]).code, 0);
    assert_eq!(scratch.good(&["get", "a/2"]), "new");
    assert_eq!(put(&["put", "a/2", "-f", "pickle"]).code, 2);
}

#[test]
fn a_dry_run_changes_nothing() {
    let scratch = Scratch::filled();
    scratch.good(&["stats"]);
    let values = |scratch: &Scratch| {
        let all = contents(&scratch.path("store"));
        let is_value = |path: &std::path::Path| !path.to_string_lossy().contains(".holdall");
        all.into_iter().filter(|(path, _)| is_value(path)).collect::<Vec<_>>()
    };
    let before = values(&scratch);
    for words in [
        &["rm", "a/1", "--dry-run"][..],
        &["rm", "--prefix", "a/", "--dry-run"],
        &["evict", "red", "--dry-run"],
        &["expire", "--dry-run"],
        &["repair", "--dry-run"],
        &["migrate", "--to", "json", "a/2", "--dry-run"],
        &["copy", "a/1", "c", "--dry-run"],
        &["copy", "--to", "other", "--dry-run"],
        &["export", "plain", "--dry-run"],
        &["trust", "--all", "--dry-run"],
    ] {
        scratch.good(words);
    }
    assert_eq!(values(&scratch), before);
    assert!(!scratch.path("other").exists() && !scratch.path("plain").exists());
}

#[test]
fn what_is_removed_is_gone_and_what_is_not_there_is_said() {
    let scratch = Scratch::filled();
    let ran = scratch.run(&["rm", "a/1", "nope"]);
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("no value under nope"), "{}", ran.err);
    assert_eq!(scratch.good(&["ls"]), "a/2\nb\n");
    scratch.good(&["evict", "red"]);
    scratch.good(&["rm", "--prefix", "a/"]);
    assert_eq!(scratch.good(&["ls"]), "");
}

#[test]
fn sizes_are_summed_for_each_part_of_the_keys() {
    let scratch = Scratch::filled();
    let out = scratch.good(&["du", "--json"]);
    let first = json(out.lines().next().expect("a line"));
    assert_eq!((&first["prefix"], &first["entries"]), (&"a/".into(), &2.into()));
    assert_eq!(json(&scratch.good(&["stats", "--json"]))["entries"], 3);
}

#[test]
fn damage_is_found_named_and_set_aside() {
    let scratch = Scratch::filled();
    let good = scratch.run(&["verify"]);
    assert_eq!(good.code, 0, "{}", good.out);
    let file = scratch.path("store/a/2.txt");
    let times = file.metadata().and_then(|found| found.modified()).expect("a file");
    std::fs::write(&file, "tExt").expect("ours");
    let changed = std::fs::File::options().write(true).open(&file).expect("ours");
    changed.set_modified(times).expect("ours");
    let bad = scratch.run(&["verify", "--json"]);
    assert_eq!(bad.code, 1, "{}", bad.out);
    assert_eq!(json(&bad.out)["problems"][0]["kind"], "content_damaged");
    assert_eq!(scratch.run(&["get", "a/2"]).code, 5);
    let aside = json(&scratch.good(&["repair", "--json"]));
    assert_eq!(aside["quarantined"][0]["key"], "a/2");
    assert_eq!(scratch.run(&["verify"]).code, 0);
}

#[test]
fn values_are_copied_with_all_that_is_known_of_them() {
    let scratch = Scratch::filled();
    scratch.good(&["copy", "a/1", "c"]);
    assert_eq!(scratch.good(&["get", "c"]), "[1,2]\n");
    assert_eq!(scratch.run(&["copy", "a/1", "c"]).code, 6);
    scratch.good(&["copy", "--to", "other"]);
    let other = ran(scratch.bare(&["ls", "--store", "other"]).output().expect("it runs"));
    assert_eq!(other.out, "a/1\na/2\nb\nc\n");
    let tagged =
        ran(scratch.bare(&["ls", "--store", "other", "-t", "red"]).output().expect("runs"));
    assert_eq!(tagged.out, "b\n");
    let created = |store: &str| {
        let found = scratch.bare(&["stat", "a/1", "--json", "--store", store]).output();
        json(&ran(found.expect("it runs")).out)["created_at"].clone()
    };
    assert_eq!(created("other"), created("store"));
}

#[test]
fn values_are_exported_as_plain_files_with_a_list() {
    let scratch = Scratch::filled();
    scratch.good(&["export", "plain"]);
    assert_eq!(std::fs::read_to_string(scratch.path("plain/a/2.txt")).expect("written"), "text");
    let list =
        std::fs::read_to_string(scratch.path("plain/holdall-export.jsonl")).expect("written");
    assert_eq!(list.lines().count(), 3);
    assert_eq!(scratch.run(&["export", "plain"]).code, 2);
}

#[test]
fn a_migration_converts_what_it_can_and_can_be_run_again() {
    let scratch = Scratch::filled();
    let first = json(&scratch.good(&["migrate", "--to", "json", "a/", "--json"]));
    assert_eq!((&first["converted"], &first["unchanged"]), (&1.into(), &1.into()));
    assert_eq!(scratch.good(&["get", "a/2"]), "\"text\"\n");
    let second = json(&scratch.good(&["migrate", "--to", "json", "a/", "--json"]));
    assert_eq!(second["converted"], 0);
    let failed = scratch.run(&["migrate", "--to", "string", "--from", "bytes"]);
    assert_eq!(failed.code, 1);
    assert!(failed.err.contains("no UTF-8 text"), "{}", failed.err);
}

#[test]
fn what_takes_python_says_so_where_there_is_none_after_the_rest_is_done() {
    let scratch = Scratch::filled();
    for python in ["false", "/nowhere/python"] {
        let mut command = scratch.command(&["migrate", "--to", "json"]);
        let found = ran(command.env("HOLDALL_PYTHON", python).output().expect("it runs"));
        assert_eq!(found.code, 7, "{}{}", found.out, found.err);
        assert_eq!(found.err.lines().count(), 1, "{}", found.err);
        assert!(found.err.contains("1 value would have needed it"), "{}", found.err);
    }
    assert_eq!(scratch.good(&["get", "a/2"]), "\"text\"\n");
}

#[test]
fn a_planted_pickle_is_signed_only_when_that_is_asked_for() {
    let scratch = Scratch::filled();
    std::fs::write(scratch.path("store/p.pkl"), b"\x80\x04N.").expect("ours");
    let shown = scratch.run(&["trust"]);
    assert_eq!(shown.code, 1, "{}", shown.out);
    assert!(shown.out.contains("p: not signed"), "{}", shown.out);
    scratch.good(&["trust", "--key", "p"]);
    assert_eq!(scratch.run(&["trust"]).code, 0);
}

#[test]
fn the_doctor_names_what_is_wrong_with_its_remedy() {
    let scratch = Scratch::filled();
    let mode = |mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(scratch.path("store"), permissions).expect("ours");
    };
    mode(0o702);
    let found = scratch.run(&["doctor", "--json"]);
    assert_eq!(found.code, 1);
    let findings: Vec<Value> = found.out.lines().map(json).collect();
    let is_it = |finding: &&Value| finding["level"] == "error" && finding["topic"] == "folder";
    let found = findings.iter().find(is_it).expect("everybody may write there");
    assert!(found["remedy"].as_str().is_some_and(|remedy| remedy.starts_with("chmod o-w")));
}

#[test]
fn a_compressed_value_has_its_file_and_an_inline_one_none() {
    let scratch = Scratch::new();
    let options = |compression, inline_below| holdall::BlobOptions {
        base_path: scratch.path("store"),
        compression,
        inline_below,
        ..holdall::BlobOptions::default()
    };
    let text = "text ".repeat(1_000);
    for (key, value, options) in [
        ("packed", text.as_str(), options(holdall::format::Codec::Zstd, 0)),
        ("inline", "small", options(holdall::format::Codec::None, 100)),
    ] {
        let store = holdall::BlobManager::with_options(options);
        store.save(key, value, holdall::Format::String).expect("saved");
        store.close().expect("closed");
    }
    let path = json(&scratch.good(&["stat", "packed", "--json"]))["path"].clone();
    let path = path.as_str().expect("a path");
    assert!(path.ends_with("packed.txt.zst") && std::path::Path::new(path).is_file(), "{path}");
    assert!(scratch.good(&["stat", "packed"]).contains("packed.txt.zst"));
    assert!(json(&scratch.good(&["stat", "inline", "--json"]))["path"].is_null());
    assert!(scratch.good(&["stat", "inline"]).contains("inline, in the store's database"));
}

#[test]
fn nothing_is_written_into_what_it_is_read_from() {
    let scratch = Scratch::filled();
    scratch.good(&["stats"]);
    std::fs::create_dir_all(scratch.path("files/inner")).expect("ours");
    std::fs::write(scratch.path("files/a.json"), "1").expect("ours");
    std::os::unix::fs::symlink("store", scratch.path("link")).expect("ours");
    let before = (contents(&scratch.path("store")), contents(&scratch.path("files")));
    let store = scratch.path("store").display().to_string();
    let around = scratch.path("").display().to_string();
    for words in [
        &["export", "store/x", "-s", &store][..],
        &["export", "store/.holdall/y", "-s", &store],
        &["export", "missing/../store/x", "-s", &store],
        &["export", "link/x", "-s", &store],
        &["export", "store/x", "-s", "link", "--dry-run"],
        &["copy", "--to", "store/inner", "-s", &store],
        &["copy", "--to", "store", "-s", &store],
        &["copy", "--to", "link", "-s", &store],
        &["copy", "--to", &around, "-s", &store],
        &["import", "files", "-s", "files"],
        &["import", "files", "-s", "files/inner/new"],
        &["import", "files/inner", "-s", "files", "--as", "folder"],
    ] {
        let ran = ran(scratch.bare(words).output().expect("it runs"));
        assert_eq!(
            (ran.code, ran.err.lines().count()),
            (2, 1),
            "{words:?}: {}{}",
            ran.out,
            ran.err
        );
        assert!(ran.err.contains("name a folder apart from it"), "{words:?}: {}", ran.err);
    }
    let after = (contents(&scratch.path("store")), contents(&scratch.path("files")));
    assert!(before == after, "something was written");
    assert!(!scratch.path("missing").exists() && !scratch.path(".holdall").exists());
}

#[test]
fn an_array_goes_into_a_pipe_as_its_bytes() {
    let scratch = Scratch::new();
    let header = "{'descr': '<i2', 'fortran_order': False, 'shape': (2,), }";
    let mut array = b"\x93NUMPY\x01\x00\x3a\x00".to_vec();
    array.extend_from_slice(format!("{header:<57}\n").as_bytes());
    array.extend_from_slice(&[1, 0, 0xff, 0xff]);
    std::fs::write(scratch.path("n.npy"), &array).expect("ours");
    scratch.good(&["put", "n", "n.npy"]);
    let piped = scratch.command(&["get", "n"]).output().expect("it runs");
    assert!(piped.stdout == array, "{}", String::from_utf8_lossy(&piped.stdout));
    assert_eq!(json(&scratch.good(&["get", "n", "--json"]))["dtype"], "int16");
}

#[test]
fn what_comes_out_of_a_store_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = Scratch::filled();
    scratch.good(&["get", "a/2", "--output", "file"]);
    scratch.good(&["export", "plain"]);
    for (name, mode) in [
        ("file", 0o600),
        ("plain", 0o700),
        ("plain/a", 0o700),
        ("plain/a/2.txt", 0o600),
        ("plain/holdall-export.jsonl", 0o600),
    ] {
        let found = scratch.path(name).metadata().expect("written").permissions().mode();
        assert_eq!(found & 0o777, mode, "{name}");
    }
}

#[test]
fn an_export_goes_on_where_one_was_stopped_and_beside_none() {
    let scratch = Scratch::filled();
    let out = scratch.path("out");
    std::fs::create_dir_all(out.join("a")).expect("ours");
    // As one that was stopped: the first value whole, the second not.
    std::fs::write(out.join("a/1.json"), "[1,2]").expect("ours");
    std::fs::write(out.join("a/2.txt"), "te").expect("ours");
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let whole = std::fs::File::options().write(true).open(out.join("a/1.json")).expect("ours");
    whole.set_modified(long_ago).expect("ours");
    let part = std::fs::File::create(out.join("holdall-export.jsonl.part")).expect("ours");
    rustix::fs::flock(&part, rustix::fs::FlockOperation::LockExclusive).expect("locked");
    let beside = scratch.run(&["export", "out"]);
    assert_eq!((beside.code, beside.err.lines().count()), (6, 1), "{}", beside.err);
    assert_eq!(std::fs::read_to_string(out.join("a/2.txt")).expect("as it was"), "te");
    drop(part);
    scratch.good(&["export", "out"]);
    let changed = out.join("a/1.json").metadata().and_then(|found| found.modified());
    assert_eq!(changed.expect("there"), long_ago, "written again");
    assert_eq!(std::fs::read_to_string(out.join("a/2.txt")).expect("written"), "text");
    let list = std::fs::read_to_string(out.join("holdall-export.jsonl")).expect("written");
    assert_eq!(list.lines().count(), 3);
}
