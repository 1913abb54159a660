//! What must hold after a call that was disturbed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use holdall::{BlobManager, Error, ErrorKind};

use super::helper::{self, Helper};
use super::injector::{Fault, Outcome, Plan};
use super::scenarios::Scenario;
use super::store::{Value, Values, below, manager, options, save, value};

/// What was wrong, in words.
pub(crate) type Check<T = ()> = Result<T, String>;

macro_rules! ensure {
    ($holds:expr, $($word:tt)+) => {
        if !$holds {
            return Err(format!($($word)+));
        }
    };
}

/// An error says what was done, on which key, what the disk said, and what to do.
pub(crate) fn check_error(error: &Error, plan: Plan) -> Check {
    let Fault::Error(number) = plan.fault else {
        return Err(format!("a short count is no reason for an error: {error}"));
    };
    let is_typed = match error.kind() {
        ErrorKind::Io => error.os_error().is_none_or(|found| found == number),
        ErrorKind::Busy => true,
        _ => false,
    };
    ensure!(is_typed, "not an error of the disk: {error:?}");
    ensure!(error.operation().is_some(), "no operation: {error:?}");
    ensure!(error.key().is_some(), "no key: {error:?}");
    ensure!(error.to_string().contains("; "), "no next step: {error:?}");
    Ok(())
}

/// All values, as a manager finds them.
pub(crate) fn contents(store: &BlobManager) -> Check<Values> {
    let keys: Vec<String> =
        store.keys("").collect::<Result<_, _>>().map_err(|error| format!("keys: {error}"))?;
    let stats = store.get_stats().map_err(|error| format!("statistics: {error}"))?;
    let mut size = 0;
    let mut found = Values::new();
    for key in keys {
        let blob = store.load_bytes(&key, None).map_err(|error| format!("listed: {error}"))?;
        size += blob.metadata.size;
        found.insert(key, Value { format: blob.metadata.record().format, payload: blob.payload });
    }
    ensure!(stats.entries == found.len() as u64, "{} entries, {} keys", stats.entries, found.len());
    ensure!(stats.total_size == size, "{} bytes are {size}", stats.total_size);
    let tagged = store.tagged("all", None, 1_000).map_err(|error| format!("tagged: {error}"))?;
    ensure!(tagged.len() <= found.len(), "more tagged than there are");
    Ok(found)
}

/// The files are those of the keys, and none is left over; asked after `contents`.
pub(crate) fn check_files(
    store: &BlobManager,
    folder: &Path,
    values: &Values,
    can_tidy: bool,
) -> Check {
    let mut wanted: Vec<PathBuf> = Vec::new();
    for key in values.keys() {
        match store.locate(key, None) {
            Ok((path, _)) => wanted.push(path),
            // It is inline, or compressed.
            Err(error) if error.kind() == ErrorKind::InvalidArgument => {}
            Err(error) => return Err(format!("not found: {error}")),
        }
    }
    let own = folder.join(".holdall");
    for path in below(folder) {
        let is_packed = path.extension().is_some_and(|end| end == "zst");
        if path.is_file() && !path.starts_with(&own) && !is_packed && !wanted.contains(&path) {
            return Err(format!("left behind: {path:?}"));
        }
        if can_tidy && path.is_dir() && !path.starts_with(&own) {
            let is_empty = fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_none());
            ensure!(!is_empty, "an empty folder is left behind: {path:?}");
        }
    }
    Ok(())
}

/// What lies in the store's own folder is what has to be there.
pub(crate) fn check_own(folder: &Path) -> Check {
    let own = folder.join(".holdall");
    let names = |folder: &Path| -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let known = ["store.json", "clock", "locks", "signer", "index", "inline", "tmp", "keys"];
    for name in names(&own) {
        ensure!(known.contains(&&name[..]), "left behind: .holdall/{name}");
    }
    let temporary = names(&own.join("tmp"));
    ensure!(temporary.is_empty(), "left behind: .holdall/tmp/{temporary:?}");
    let indexes = names(&own.join("index"));
    ensure!(indexes.len() <= 1, "several indexes: {indexes:?}");
    let known = [
        "values.sqlite",
        "values.sqlite-wal",
        "values.sqlite-notes",
        "values.sqlite-shm",
        "writers.lock",
        "reserve",
    ];
    for name in names(&own.join("inline")) {
        ensure!(known.contains(&&name[..]), "left behind: .holdall/inline/{name}");
    }
    Ok(())
}

/// The files of a store that this process has open.
fn open_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let targets = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    targets.filter(|target| target.starts_with(folder)).collect()
}

/// Compares what a call has left with what it may leave, and goes on working in this process, in
/// another one, and after the store was opened anew.
pub(crate) fn check_all(
    scenario: &Scenario,
    folder: &Path,
    store: BlobManager,
    allowed: &BTreeMap<String, Vec<Option<Value>>>,
    (plan, outcome): (Plan, Outcome),
    peer: &mut Peer,
) -> Check {
    let mut expected = Values::new();
    for (key, choices) in allowed {
        let found = store.try_load_bytes(key, None).map_err(|error| format!("then: {error}"))?;
        let found = found
            .map(|blob| Value { format: blob.metadata.record().format, payload: blob.payload });
        ensure!(choices.contains(&found), "{key} is {}", shown(found.as_ref()));
        expected.extend(found.map(|found| (key.clone(), found)));
    }
    // A file and an inline value of one key stay, where the newer could not be flushed, until the
    // store is next opened by one process alone; statistics count both.
    let are_both_there =
        scenario.name.contains("half-a-move") && outcome.hit.is_some_and(|hit| hit.flushes());
    if are_both_there {
        return Ok(());
    }
    let found = contents(&store)?;
    ensure!(found == expected, "listed {:?}, loaded {:?}", found.keys(), expected.keys());
    // Folders that have become empty are removed if the disk lets them be found.
    let is_swept = !plan.lasts && !outcome.hit.is_some_and(|hit| hit.removes());
    let can_tidy = is_swept && plan.fault == Fault::Error(libc::ENOSPC);
    if is_swept {
        check_files(&store, folder, &expected, can_tidy)?;
        check_own(folder)?;
    }
    // In the same process, in another one, and again here.
    let key = scenario.touched()[0];
    let own = value(holdall::Format::Json, "own", 650);
    save(&store, key, &own, None).map_err(|error| format!("the next save: {error}"))?;
    expected.insert(key.to_owned(), own);
    let theirs = peer.work(folder, key, scenario.inline)?;
    ensure!(theirs == digest(&expected), "the other process has found {theirs}");
    let expect = peer_value();
    let found = store.load_bytes(key, None).map_err(|error| format!("after the other: {error}"))?;
    ensure!(found.payload == expect.payload, "{key} is not what the other process has saved");
    expected.insert(key.to_owned(), expect);
    store.close().map_err(|error| format!("the close: {error}"))?;
    drop(store);
    let mut open = open_files(folder);
    for _ in 0..200 {
        if open.is_empty() {
            break;
        }
        // A thread of the pool may be at its last file.
        std::thread::sleep(std::time::Duration::from_millis(10));
        open = open_files(folder);
    }
    ensure!(open.is_empty(), "still open: {open:?}");
    let store = scenario.manager(folder);
    let found = contents(&store)?;
    ensure!(found == expected, "opened anew: {:?}, not {:?}", found.keys(), expected.keys());
    check_files(&store, folder, &expected, can_tidy)?;
    check_own(folder)
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None => "missing".to_owned(),
        Some(Value { format, payload }) => {
            let begin = String::from_utf8_lossy(&payload[..payload.len().min(12)]).into_owned();
            format!("{format:?} of {} bytes: {begin}", payload.len())
        }
    }
}

fn digest(values: &Values) -> String {
    let one = |(key, value): (&String, &Value)| {
        let hash = xxhash_rust::xxh3::xxh3_64(&value.payload);
        let key = &key[..key.len().min(40)];
        format!("{key}={:?}:{hash:x}", value.format)
    };
    values.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn peer_value() -> Value {
    value(holdall::Format::String, "peer", 640)
}

/// Another process that uses the stores that it is told of.
pub(crate) struct Peer(Helper);

impl Peer {
    pub(crate) fn start() -> Self {
        Self(Helper::start("helper_that_uses_the_store", Path::new("/"), 0))
    }

    /// Has it look at all values and save one; answers what it has found.
    fn work(&mut self, folder: &Path, key: &str, inline: bool) -> Check<String> {
        self.0.tell(&format!("{}\t{key}\t{inline}", folder.display()));
        let answer = self.0.hear().ok_or("the other process has ended")?;
        let answer = answer.strip_prefix("found ").ok_or(format!("the other process: {answer}"))?;
        Ok(answer.to_owned())
    }
}

/// In the helper: does what [`Peer::work`] asks.
pub(crate) fn serve() {
    while let Some(line) = helper::listen() {
        let mut words = line.split('\t');
        let (Some(folder), Some(key), Some(inline)) = (words.next(), words.next(), words.next())
        else {
            panic!("not a line for this helper: {line}");
        };
        let store = manager(Path::new(folder), inline == "true", options(Path::new(folder)));
        let worked = contents(&store).and_then(|found| {
            save(&store, key, &peer_value(), None).map_err(|error| error.to_string())?;
            Ok(digest(&found))
        });
        // Whoever opens the store next is alone with it.
        drop(store);
        match worked {
            Ok(found) => helper::say(&format!("found {found}")),
            Err(wrong) => helper::say(&format!("wrong {wrong}")),
        }
    }
}
