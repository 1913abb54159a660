//! Takes the scenarios through all their faults.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Duration;

use holdall::Durability;

use super::check::{Check, Peer, check_all, check_error};
use super::injector::{FAULTS, Fault, Outcome, Plan, disturbed, install};
use super::scenarios::{Group, Scenario, all, values};
use super::store::{Value, Values, copy, manager, neighbours, save};

/// A quick run tries one state of so many; openings make hundreds of calls.
const SHARE: u64 = 40;
const SHARE_OF_OPENINGS: u64 = 160;
/// No state may take longer: nothing waits for what will not come.
const LONGEST: Duration = Duration::from_secs(10);

/// Which states are tried.
enum Choice {
    /// One of so many.
    Some(u64),
    All,
    One(String),
}

impl Choice {
    fn of_environment(group: Group) -> Self {
        match std::env::var("HOLDALL_FAULTS") {
            Ok(word) if word == "all" => Self::All,
            Ok(word) if word.starts_with("1/") => {
                Self::Some(word[2..].parse().expect("one of how many states"))
            }
            Ok(word) if !word.is_empty() => Self::One(word),
            _ if group == Group::Openings => Self::Some(SHARE_OF_OPENINGS),
            _ => Self::Some(SHARE),
        }
    }

    fn takes(&self, name: &str, plan: Plan) -> bool {
        let state = state(name, plan);
        match self {
            Self::All => true,
            Self::Some(share) => {
                xxhash_rust::xxh3::xxh3_64(state.as_bytes()).is_multiple_of(*share)
            }
            Self::One(word) => state.starts_with(&word[..]),
        }
    }
}

fn state(name: &str, plan: Plan) -> String {
    format!("{name}:{plan}")
}

/// Tries the states of the scenarios of a group.
pub(crate) fn try_all(group: Group) {
    let (begin, choice) = (now(), Choice::of_environment(group));
    // Before the filter, which it would inherit.
    let mut peer = Peer::start();
    if let Err(reason) = install() {
        println!("skipped: {reason}");
        return;
    }
    let (mut tried, mut wrong) = (0, Vec::new());
    let mut slowest = (Duration::ZERO, String::new());
    for scenario in all().into_iter().filter(|scenario| scenario.group == group) {
        let template = Template::of(&scenario);
        let undisturbed = Plan { fault: FAULTS[0], at: usize::MAX, lasts: false };
        let counts = match template.run(&scenario, undisturbed, &mut peer) {
            Ok((outcome, _)) => outcome.suited,
            Err(error) => {
                wrong.push(format!("{} without a fault: {error}", scenario.name));
                continue;
            }
        };
        let kinds = FAULTS
            .into_iter()
            .zip(counts)
            .flat_map(|(fault, [once, lasting])| [(fault, false, once), (fault, true, lasting)]);
        for (fault, lasts, count) in kinds {
            let plan = |at| Plan { fault, at, lasts };
            for plan in (0..count).map(plan).filter(|plan| choice.takes(&scenario.name, *plan)) {
                tried += 1;
                match template.run(&scenario, plan, &mut peer) {
                    Ok((_, took)) if took > slowest.0 => {
                        slowest = (took, state(&scenario.name, plan));
                    }
                    Ok(_) => {}
                    Err(error) => wrong.push(format!("{}: {error}", state(&scenario.name, plan))),
                }
            }
        }
    }
    let (took, slowest) = slowest;
    println!(
        "{group:?}: {tried} states in {:?}, the slowest in {took:?}: {slowest}",
        now() - begin
    );
    for one in &wrong {
        println!("{one}");
    }
    assert!(wrong.is_empty(), "{} of {tried} states are wrong, above", wrong.len());
}

/// A store that is copied for each state.
struct Template {
    folder: tempfile::TempDir,
}

impl Template {
    fn of(scenario: &Scenario) -> Self {
        let folder = memory().or_else(|_| tempfile::tempdir()).expect("a temporary directory");
        let path = folder.path().join("template");
        let store = manager(&path, scenario.inline, scenario.options.clone());
        for (key, value) in scenario.neighbours().iter().chain(&values(&scenario.before)) {
            save(&store, key, value, None).expect("nothing fails yet");
        }
        store.get_stats().expect("nothing fails yet");
        drop(store);
        (scenario.prepare)(&path, scenario);
        Self { folder }
    }

    /// One state: the store copied, the call disturbed, everything compared.
    fn run(&self, scenario: &Scenario, plan: Plan, peer: &mut Peer) -> Check<(Outcome, Duration)> {
        let folder: PathBuf = self.folder.path().join("store");
        let template = self.folder.path().join("template");
        if folder.exists() {
            std::fs::remove_dir_all(&folder).expect("removed");
        }
        if template.exists() {
            copy(&template, &folder);
        }
        let store = scenario.manager(&folder);
        if scenario.is_open {
            // Both databases too, with what they keep open.
            store.get_stats().expect("nothing fails yet");
            store.exists("beside").expect("nothing fails yet");
        }
        let begin = now();
        let act = || catch_unwind(AssertUnwindSafe(|| (scenario.act)(&store)));
        let (done, outcome) = disturbed(plan, act);
        let took = now() - begin;

        let with_hit = |error: String| match outcome.hit {
            Some(hit) => format!("{hit} of {}: {error}", outcome.file),
            None => error,
        };
        let panicked = |panic: Box<dyn std::any::Any + Send>| words(&*panic).to_owned();
        let done = done.map_err(panicked).map_err(with_hit)?;
        let mut allowed = scenario.allowed();
        for (key, result) in &done {
            if let Err(error) = result {
                check_error(error, plan).map_err(with_hit)?;
                allowed.insert((*key).to_owned(), scenario.after_failure(key, error));
            }
        }
        // What SQLite could not flush it writes anew, before it is flushed again; its folder is flushed
        // once more, through a descriptor that learns of the error. What was interrupted is begun anew.
        let flush_failed = outcome.hit.is_some_and(|hit| hit.flushes())
            && plan.fault != Fault::Error(libc::EINTR)
            && !outcome.file.to_string().contains(".holdall/inline");
        if flush_failed
            && scenario.options.durability == Durability::Disk
            && scenario.is_open
            && done.iter().all(|(_, result)| result.is_ok())
            && !done.is_empty()
        {
            return Err(with_hit("acknowledged, though a flush has failed".to_owned()));
        }
        let checked = check_all(scenario, &folder, store, &allowed, (plan, outcome), peer);
        checked.map_err(with_hit)?;
        let took_all = now() - begin;
        if took_all > LONGEST {
            return Err(with_hit(format!("it took {took_all:?}")));
        }
        Ok((outcome, took))
    }
}

impl Scenario {
    /// What stands beside the keys that are touched.
    fn neighbours(&self) -> Values {
        if self.is_alone { Values::new() } else { neighbours() }
    }

    /// What each key may be after success.
    fn allowed(&self) -> BTreeMap<String, Vec<Option<Value>>> {
        let mut allowed: BTreeMap<String, Vec<Option<Value>>> = BTreeMap::new();
        for (key, value) in self.neighbours() {
            let choices = if self.clears { vec![Some(value), None] } else { vec![Some(value)] };
            allowed.insert(key, choices);
        }
        let after = values(&self.after);
        for key in self.touched() {
            allowed.insert(key.to_owned(), vec![after.get(key).cloned()]);
        }
        allowed
    }

    /// What a key may be after a failure, which tells of it if only a flush has failed.
    fn after_failure(&self, key: &str, error: &holdall::Error) -> Vec<Option<Value>> {
        let (before, after) = (values(&self.before), values(&self.after));
        let (before, after) = (before.get(key).cloned(), after.get(key).cloned());
        let is_done = error.cause().contains(", but may not survive a power cut");
        if self.is_in_steps {
            vec![before, after]
        } else {
            vec![if is_done { after } else { before }]
        }
    }
}

/// A folder in memory, where flushes take no time, if files can have attributes there.
fn memory() -> std::io::Result<tempfile::TempDir> {
    let folder = tempfile::tempdir_in("/dev/shm")?;
    let file = std::fs::File::open(folder.path())?;
    let set = rustix::fs::XattrFlags::empty();
    rustix::fs::fsetxattr(&file, "user.holdall", b"probe", set)?;
    Ok(folder)
}

/// What a panic has said.
fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("?").to_owned()
}

fn now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}
