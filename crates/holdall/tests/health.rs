//! Random damage to random stores: each is named, the healthy are not, and after a repair all is
//! clean, with every healthy value in its place and every damaged one in quarantine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use holdall::key::{CaseRule, Key};
use holdall::signing::KeySource;
use holdall::{BlobManager, BlobOptions, Format, ProblemKind, SaveOptions};
use proptest::prelude::*;
use rustix::fs::{XattrFlags, getxattr, removexattr, setxattr};

const SECRET: &str = "a secret of the tests alone";
const STAMP: &str = "user.holdall";
const KEYS: [&str; 8] = ["a", "b.c", "f/a", "f/g/Ä b", "f/g/c", "nul", "x/y", "z"];

fn open(folder: &Path, inline_below: u64) -> BlobManager {
    BlobManager::with_options(BlobOptions {
        base_path: folder.into(),
        signing_key: KeySource::text(SECRET).expect("long enough"),
        inline_below,
        ..BlobOptions::default()
    })
}

/// A sort of damage to one value, or to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    Flip,
    Cut,
    Grow,
    NoStamp,
    BadStamp,
    /// The record of another value, with the checksum of this content: its signature is wrong.
    Forge,
    Widen,
    OrphanKey,
    Signer,
    Row,
    Counters,
    Blocked,
    Twins,
    InlineContent,
    InlineRow,
    InlineCounters,
}

const HARMS: [Harm; 16] = [
    Harm::Flip,
    Harm::Cut,
    Harm::Grow,
    Harm::NoStamp,
    Harm::BadStamp,
    Harm::Forge,
    Harm::Widen,
    Harm::OrphanKey,
    Harm::Signer,
    Harm::Row,
    Harm::Counters,
    Harm::Blocked,
    Harm::Twins,
    Harm::InlineContent,
    Harm::InlineRow,
    Harm::InlineCounters,
];

/// What a verification has to say of a harm, what must be in quarantine after it, and whether the
/// value is lost to its key.
struct Trace {
    kinds: &'static [ProblemKind],
    aside: Option<Vec<u8>>,
    lost: bool,
    kept: bool,
}

impl Trace {
    const fn of(kinds: &'static [ProblemKind]) -> Self {
        Self { kinds, aside: None, lost: false, kept: false }
    }
}

fn stamp_of(path: &Path) -> Vec<u8> {
    let mut bytes = vec![0; 4_096];
    let length = getxattr(path, STAMP, &mut bytes[..]).expect("stamped");
    bytes.truncate(length);
    bytes
}

/// Changes a file in place as a failing disk would: its time of change stays.
fn change(path: &Path, with: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let modified = fs::metadata(path).expect("there").modified().expect("known");
    let mut content = fs::read(path).expect("there");
    with(&mut content);
    fs::write(path, &content).expect("written");
    let file = fs::File::options().write(true).open(path).expect("opened");
    file.set_modified(modified).expect("set");
    content
}

/// A database of a store that was opened in this process, seen with its checksums.
fn changeable(path: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open_with_flags_and_vfs(path, Default::default(), c"holdall-given")
        .expect("opened")
}

/// Writes a database that nobody has open.
fn with_database(path: &Path, sql: &str) {
    changeable(path).execute_batch(sql).expect("changed");
}

fn index(folder: &Path) -> PathBuf {
    let epochs = fs::read_dir(folder.join(".holdall/index")).expect("there").flatten();
    let mut epochs = epochs.filter(|epoch| epoch.file_name() != "4711");
    epochs.next().expect("one").path().join("index.sqlite")
}

fn private(path: &Path, content: &[u8]) {
    fs::write(path, content).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("ours");
}

/// Does harm to a closed store; `None` if there is nothing that it could be done to.
fn harm(folder: &Path, harm: Harm, key: &str, files: &BTreeMap<String, PathBuf>) -> Option<Trace> {
    let file = files.get(key);
    let hex: String = key.bytes().map(|byte| format!("{byte:02X}")).collect();
    let at = format!("WHERE key = x'{hex}'");
    let values = folder.join(".holdall/inline/values.sqlite");
    Some(match harm {
        Harm::Flip => {
            let content = change(file?, |content| content[0] ^= 4);
            Trace { aside: Some(content), lost: true, ..Trace::of(&[ProblemKind::ContentDamaged]) }
        }
        Harm::Cut => {
            let content = change(file?, |content| content.truncate(content.len() / 2));
            Trace {
                aside: Some(content),
                lost: true,
                ..Trace::of(&[ProblemKind::ContentTruncated])
            }
        }
        Harm::Grow => {
            let content = change(file?, |content| content.extend_from_slice(b"more"));
            Trace { aside: Some(content), lost: true, ..Trace::of(&[ProblemKind::ContentDamaged]) }
        }
        Harm::NoStamp => {
            removexattr(file?, STAMP).expect("removed");
            Trace::of(&[ProblemKind::StampMissing])
        }
        Harm::BadStamp => {
            let mut stamp = stamp_of(file?);
            stamp[20] ^= 1;
            setxattr(file?, STAMP, &stamp, XattrFlags::empty()).expect("set");
            Trace::of(&[ProblemKind::StampDamaged])
        }
        Harm::Forge => {
            let path = file.filter(|path| path.extension().is_some_and(|end| end == "pkl"))?;
            let content = change(path, |content| content[0] ^= 4);
            let mut stamp = stamp_of(path);
            let end = stamp.len() - 4;
            let checksum = xxhash_rust::xxh3::xxh3_64(&content);
            stamp[24..32].copy_from_slice(&checksum.to_le_bytes());
            let check = xxhash_rust::xxh3::xxh3_64(&stamp[..end]) as u32;
            stamp[end..].copy_from_slice(&check.to_le_bytes());
            setxattr(path, STAMP, &stamp, XattrFlags::empty()).expect("set");
            Trace {
                aside: Some(content),
                lost: true,
                ..Trace::of(&[ProblemKind::SignatureWrong, ProblemKind::RowDiffers])
            }
        }
        Harm::Widen => {
            fs::set_permissions(file?, fs::Permissions::from_mode(0o644)).expect("ours");
            Trace::of(&[ProblemKind::Permissions])
        }
        Harm::OrphanKey => {
            let text = "k".repeat(1_500);
            let name = Key::new(&text).expect("a key").name(CaseRule::Sensitive);
            let keys = folder.join(".holdall/keys");
            fs::create_dir(&keys).expect("made");
            fs::set_permissions(&keys, fs::Permissions::from_mode(0o700)).expect("ours");
            let (_, digest) = name.rsplit_once("%=").expect("hashed");
            private(&keys.join(digest), text.as_bytes());
            Trace::of(&[ProblemKind::Leftover])
        }
        Harm::Signer => {
            private(&folder.join(".holdall/signer"), b"nobody");
            Trace { aside: Some(b"nobody".into()), ..Trace::of(&[ProblemKind::SignerDamaged]) }
        }
        Harm::Row => {
            file?;
            with_database(&index(folder), &format!("UPDATE entry SET row = zeroblob(70) {at}"));
            Trace::of(&[ProblemKind::RowDamaged])
        }
        Harm::Counters => {
            file?;
            with_database(&index(folder), &format!("DELETE FROM entry {at}"));
            Trace::of(&[ProblemKind::CountersWrong, ProblemKind::RowMissing])
        }
        Harm::Blocked => {
            symlink("nowhere", folder.join("blocked.json")).ok()?;
            Trace { kept: true, ..Trace::of(&[ProblemKind::Blocked]) }
        }
        Harm::Twins => {
            private(&folder.join("twins.json"), b"1");
            private(&folder.join("twins.txt"), b"2");
            Trace { kept: true, ..Trace::of(&[ProblemKind::Conflict]) }
        }
        Harm::InlineContent if file.is_none() => {
            let sql = format!("UPDATE entry SET content = x'5B395D' {at}");
            with_database(&values, &sql);
            Trace {
                aside: Some(b"[9]".into()),
                lost: true,
                ..Trace::of(&[ProblemKind::ContentDamaged, ProblemKind::ContentTruncated])
            }
        }
        Harm::InlineRow if file.is_none() => {
            with_database(&values, &format!("UPDATE entry SET row = zeroblob(70) {at}"));
            Trace { lost: true, ..Trace::of(&[ProblemKind::InlineRecordDamaged]) }
        }
        Harm::InlineCounters if file.is_none() => {
            with_database(&values, "UPDATE meta SET value = zeroblob(48)");
            Trace::of(&[ProblemKind::CountersWrong])
        }
        Harm::InlineContent | Harm::InlineRow | Harm::InlineCounters => return None,
    })
}

/// The contents of all files in quarantine.
fn aside(folder: &Path) -> BTreeSet<Vec<u8>> {
    let Ok(items) = fs::read_dir(folder.join(".holdall/quarantine")) else { return <_>::default() };
    let files = items.flatten().flat_map(|item| fs::read_dir(item.path()).expect("a folder"));
    files.flatten().map(|file| fs::read(file.path()).expect("a file")).collect()
}

type Values = BTreeMap<&'static str, Vec<u8>>;

/// Fills a store, every third value inline, and closes it.
fn filled(folder: &Path, sizes: &[usize]) -> (Values, BTreeMap<String, PathBuf>) {
    const FORMATS: [Format; 4] = [Format::Json, Format::String, Format::Pickle, Format::Bytes];
    let (inline, plain) = (open(folder, 60_000), open(folder, 0));
    let (mut values, mut files) = (Values::new(), BTreeMap::new());
    for (number, (key, size)) in KEYS.into_iter().zip(sizes).enumerate() {
        let content = format!("[{}{number}]", "1".repeat(*size)).into_bytes();
        let format = FORMATS[(number + size) % 4];
        let manager = if number % 3 == 2 { &inline } else { &plain };
        let options = SaveOptions { tags: vec!["t".into()], ..<_>::default() };
        manager.save_parts(key, format, vec![content.clone().into()], options).expect("saved");
        if number % 3 != 2 {
            files.insert(key.to_owned(), plain.locate(key, None).expect("a file").0);
        }
        values.insert(key, content);
    }
    assert_eq!(plain.get_stats().expect("counted").entries, KEYS.len() as u64);
    plain.close().expect("closed");
    (values, files)
}

/// A harm to one value hides what else was done to it.
fn apart(harms: &[(Harm, usize)]) -> Vec<(Harm, usize)> {
    let (mut keys, mut sorts) = (BTreeSet::new(), BTreeSet::new());
    let is_new = |(harm, key): &&(Harm, usize)| {
        let at = HARMS.iter().position(|other| other == harm);
        sorts.insert(at) & keys.insert(*key)
    };
    harms.iter().filter(is_new).copied().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn damage_is_named_and_set_right_and_the_healthy_stay(
        sizes in prop::collection::vec(1_usize..200, KEYS.len()),
        harms in prop::collection::vec((prop::sample::select(&HARMS[..]), 0..KEYS.len()), 0..5),
    ) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (mut values, files) = filled(dir.path(), &sizes);
        let mut traces = Vec::new();
        for (sort, at) in apart(&harms) {
            if let Some(trace) = harm(dir.path(), sort, KEYS[at], &files) {
                if trace.lost {
                    values.remove(KEYS[at]);
                }
                traces.push((sort, trace));
            }
        }
        let store = open(dir.path(), 0);
        let report = store.verify(|_| ()).expect("verified");
        let found: Vec<ProblemKind> = report.problems.iter().map(|one| one.kind).collect();
        // A damaged index is not compared row by row: one of its kinds stands for all of them, and
        // a record that it had cannot be told to be lost.
        let index = [ProblemKind::RowDamaged, ProblemKind::IndexDamaged];
        let is_blind = found.iter().any(|kind| index.contains(kind));
        for (sort, trace) in &traces {
            let is_named = trace.kinds.iter().any(|kind| found.contains(kind));
            let is_hidden = is_blind && matches!(sort, Harm::Counters);
            prop_assert!(is_named || is_hidden, "{sort:?} is not named: {report:?}");
        }
        for kind in &found {
            let is_meant = traces.iter().any(|(_, trace)| trace.kinds.contains(kind))
                || (is_blind && *kind == ProblemKind::StampDamaged);
            prop_assert!(is_meant, "{kind:?} is a false alarm: {report:?}");
        }
        let plan = store.repair(true, |_| ()).expect("planned");
        if !is_blind {
            let same = store.verify(|_| ()).expect("verified");
            prop_assert_eq!(same.problems.len(), found.len());
        }
        let done = store.repair(false, |_| ()).expect("repaired");
        prop_assert_eq!(plan.quarantined.len(), done.quarantined.len(), "{:?} {:?}", plan, done);
        let kept = traces.iter().filter(|(_, trace)| trace.kept).count();
        prop_assert_eq!(done.kept.len(), kept);
        let after = store.verify(|_| ()).expect("verified");
        prop_assert_eq!(after.problems.len(), kept, "{:?}", after);
        let again = store.repair(false, |_| ()).expect("repaired");
        prop_assert!(again.is_unchanged(), "{:?}", again);
        for (key, content) in &values {
            let found = store.try_load_bytes(key, None).expect("whole");
            prop_assert_eq!(&found.expect("there").payload, content);
        }
        let listed = store.keys("").collect::<Result<Vec<_>, _>>().expect("listed");
        let listed: Vec<_> = listed.iter().filter(|key| KEYS.contains(&&***key)).collect();
        prop_assert_eq!(listed.len(), values.len());
        let aside = aside(dir.path());
        for (sort, trace) in &traces {
            if let Some(content) = &trace.aside {
                prop_assert!(aside.contains(content), "{sort:?} is not in quarantine");
            }
        }
    }
}
