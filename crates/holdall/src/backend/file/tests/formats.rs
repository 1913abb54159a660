//! Writers look for other files of their key only in formats that the store has had.

use super::*;
use crate::format::{Codec, Ending};

fn plain(format: Format) -> Ending {
    Ending { format, codec: Codec::None }
}

fn may_have(it: &Fixture, format: Format) -> bool {
    it.backend.opened().expect("open").live().expect("writable").clock.may_have(plain(format))
}

#[test]
fn a_format_is_known_from_its_first_file_on_in_every_process() {
    let it = fixture();
    it.put("k", Format::Json, "1");
    assert!(may_have(&it, Format::CustomJson), "it has the same suffix");
    assert!(!may_have(&it, Format::String));
    let peer = FileBackend::new(it.dir.path(), FileOptions::default());
    peer.put(put("k", Format::String, "text")).expect("put");
    assert!(may_have(&it, Format::String));
    it.put("k", Format::Json, "2");
    assert_eq!(it.names(), ["k.json"]);
}

#[test]
fn what_was_put_there_by_hand_is_replaced_once_somebody_has_read_it() {
    let it = fixture();
    it.put("other", Format::Json, "1");
    fs::write(it.path("k.txt"), "theirs").expect("written");
    it.get("k").expect("read").expect("there");
    it.put("k", Format::Json, "1");
    assert_eq!(it.names(), ["k.json", "other.json"]);
    // Nobody knows of this one: it stays beside the value and is not the value.
    fs::write(it.path("k.bin"), "theirs").expect("written");
    it.put("k", Format::Json, "2");
    assert_eq!(it.get("k").expect("read").expect("there").content, b"2");
    assert_eq!(it.names(), ["k.bin", "k.json", "other.json"]);
}

#[test]
fn a_scan_learns_the_formats_and_without_one_all_are_looked_for() {
    let it = fixture();
    it.put("other", Format::Json, "1");
    fs::write(it.path("k.txt"), "theirs").expect("written");
    let opened = it.backend.opened().expect("open");
    let clock = &opened.live().expect("writable").clock;
    assert!(!clock.may_have(plain(Format::String)));
    clock.set_formats_known(false);
    assert!(clock.may_have(plain(Format::Npy)));
    clock.set_diverged(true);
    it.backend.totals().expect("filled anew");
    assert!(clock.may_have(plain(Format::String)) && !clock.may_have(plain(Format::Npy)));
    it.put("k", Format::Json, "1");
    assert_eq!(it.names(), ["k.json", "other.json"]);
}
