//! Commits, saves and jobs of several threads that are carried out together, and cancelling them.

use std::sync::Arc;

use super::storage::{in_memory, save};
use super::{Tally, Work, together};
use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result};
use crate::index::{Change, GroupCommit};
use crate::sync::{Mutex, step};
use crate::{Format, pool};

/// An index that only notes what it was told to remove.
type Noted = Arc<Mutex<Vec<String>>>;

fn note(noted: &Noted, changes: &[Change]) -> Result<()> {
    let keys = changes.iter().filter_map(|change| match change {
        Change::Remove { key, .. } => Some(key.clone()),
        _ => None,
    });
    let keys: Vec<String> = keys.collect();
    step();
    if keys.iter().any(|key| key == "bad") {
        return Err(Error::new(ErrorKind::InvalidArgument, "one of them is bad"));
    }
    noted.lock().unwrap().extend(keys);
    Ok(())
}

/// Each commit of a group is made once and is there when its call returns, and an error is that of
/// the one whose fault it is.
pub fn a_group_commits_each_change_once() {
    let noted = Noted::default();
    let into = Arc::clone(&noted);
    let commits = Arc::new(GroupCommit::new(move |changes| note(&into, changes)));
    let names = ["a", "b", "bad", "c"];
    let call = |name: &'static str| {
        let (noted, commits) = (Arc::clone(&noted), Arc::clone(&commits));
        Box::new(move || {
            let done = commits.commit(vec![Change::Remove { key: name.into(), generation: None }]);
            assert_eq!(done.is_err(), name == "bad");
            let there = noted.lock().unwrap().iter().any(|key| key == name);
            assert_eq!(there, name != "bad");
        }) as Work
    };
    together(names.into_iter().map(call).collect());
    let mut noted = noted.lock().unwrap().clone();
    noted.sort();
    assert_eq!(noted, ["a", "b", "c"]);
}

/// Every save that is started is told its end, once, and then it is there.
pub fn saves_that_meet_are_each_told() {
    let (blobs, told) = (in_memory(), Tally::default());
    let call = |n: u64| {
        let (blobs, told) = (blobs.clone(), told.clone());
        Box::new(move || {
            for k in 0..2 {
                let (told, key) = (told.clone(), format!("{n}/{k}"));
                let there = blobs.clone();
                blobs.save_soon(save(&key, n), CancelToken::new(), move |saved| {
                    assert_eq!(saved.unwrap().key, key);
                    assert_eq!(there.load::<u64>(&key).unwrap(), n);
                    told.add();
                });
            }
        }) as Work
    };
    together((0..2).map(call).collect());
    told.wait_for(4);
    assert_eq!(blobs.get_stats().unwrap().entries, 4);
}

/// A cancelled save came before whatever is called after the cancelling, or never comes; one beside
/// it in its batch comes.
pub fn a_cancelled_save_never_comes_later() {
    let (blobs, told) = (in_memory(), Tally::default());
    let (cancelled, other) = (CancelToken::new(), CancelToken::new());
    for (key, token) in [("k", &cancelled), ("gone", &cancelled), ("beside", &other)] {
        let told = told.clone();
        blobs.save_soon(save(key, 1), token.clone(), move |saved| {
            assert!(saved.is_ok() || key != "beside");
            told.add();
        });
    }
    cancelled.cancel();
    blobs.save("k", &2, Format::Json).unwrap();
    blobs.delete("gone", None).unwrap();
    told.wait_for(3);
    assert_eq!(blobs.load::<u64>("k").unwrap(), 2);
    assert!(!blobs.exists("gone").unwrap() && blobs.exists("beside").unwrap());
}

/// Every job of the pool runs, also while as many as it has threads wait for one of them.
pub fn jobs_that_wait_keep_no_other_from_running() {
    let (go, over) = (Tally::default(), Tally::default());
    for _ in 0..9 {
        let (go, over) = (go.clone(), over.clone());
        pool::execute(move || {
            pool::while_waiting(|| go.wait_for(1));
            over.add();
        });
    }
    pool::execute(move || go.add());
    over.wait_for(9);
    assert_eq!(pool::block_on(pool::spawn(|| 7)), 7);
}
