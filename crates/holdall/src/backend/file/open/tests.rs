//! What an opening finds, makes, and refuses.

use std::os::unix::fs::MetadataExt as _;

use super::super::write::Terms;
use super::*;
use crate::backend::Put;
use crate::index::Index as _;

const OPTIONS: OpenOptions =
    OpenOptions { allow_network_fs: false, lock_timeout: Duration::from_secs(5) };

#[test]
fn a_new_store_is_for_its_owner_alone() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("a/store");
    let opened = Opened::open(&path, OPTIONS).expect("opened");
    assert!(opened.live().is_ok());
    for name in ["", OWN, ".holdall/tmp", ".holdall/index"] {
        let mode = std::fs::metadata(path.join(name)).expect("made").mode();
        assert_eq!(mode & 0o777, 0o700, "{name}");
    }
    for name in ["store.json", "clock", "locks"] {
        let mode = std::fs::metadata(path.join(OWN).join(name)).expect("made").mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn on_a_network_file_system_clock_and_index_are_private_and_listings_still_true() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let options = OpenOptions { allow_network_fs: true, ..OPTIONS };
    let network = |_: &OwnedFd| Ok(Some("NFS"));
    let refused = Opened::open_on(dir.path(), OPTIONS, network).err().expect("refused");
    assert!(refused.to_string().contains("allow_network_fs"), "{refused}");
    let one = Opened::open_on(dir.path(), options, network).expect("opened");
    let two = Opened::open_on(dir.path(), options, network).expect("opened");
    let time = Clock::system();
    let terms = || Terms { clock: &time, lock_timeout: OPTIONS.lock_timeout, inline_below: 0 };
    let key = |text: &str| Key::new(text).expect("a valid key");
    let put = |text: &str| Put::new(key(text), crate::Format::Json, vec![b"1".to_vec().into()]);
    let entries = |opened: &Opened| {
        let live = opened.live().expect("writable");
        live.filled.store(0, Ordering::Relaxed);
        drop(opened.ensure_index(terms()).expect("filled"));
        live.catalog.ask(&live.clock, |index| index.totals()).expect("counted").entries
    };
    assert!(one.write(vec![put("a")], terms()).pop().expect("one").is_ok());
    assert_eq!((entries(&one), entries(&two)), (1, 1));
    assert!(two.write(vec![put("b")], terms()).pop().expect("one").is_ok());
    assert_eq!((entries(&one), entries(&two)), (2, 2));
    let own = dir.path().join(OWN);
    assert!(!own.join("clock").exists() && !own.join("index").exists());
    let folder = one.live().expect("writable").catalog.folders().to_path_buf();
    assert!(folder.is_dir());
    drop((one, two));
    assert!(!folder.exists());
}

#[test]
fn a_later_layout_is_refused_and_nothing_is_touched() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let own = dir.path().join(OWN);
    std::fs::create_dir(&own).expect("made");
    std::fs::write(own.join("store.json"), r#"{"format": 2, "new": true}"#).expect("written");
    let error = Opened::open(dir.path(), OPTIONS).err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::Version);
    assert_eq!(std::fs::read_dir(&own).expect("there").count(), 1);
}

#[test]
fn a_path_that_cannot_be_made_says_which_and_what_to_do() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let path = file.path().join("store");
    let error = Opened::open(&path, OPTIONS).err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("choose another base_path"), "{error}");
    assert!(error.to_string().contains(&path.display().to_string()));
}
