//! Saves that meet are placed together, and each is still a save of its own.
#![allow(clippy::unwrap_used, reason = "a test may end here")]

use std::sync::mpsc;
use std::time::Duration;

use holdall::{
    BlobManager, BlobMetadata, CancelToken, Condition, Durability, ErrorKind, Format, Result, Save,
    SaveOptions,
};

/// For what must happen; nothing waits so long unless it does not.
const PATIENCE: Duration = Duration::from_secs(30);

fn save(key: &str, content: &str, options: SaveOptions) -> Save {
    let parts = vec![content.as_bytes().to_vec().into()];
    Save { key: key.into(), format: Format::Json, parts, options }
}

type Outcomes =
    (mpsc::Sender<(usize, Result<BlobMetadata>)>, mpsc::Receiver<(usize, Result<BlobMetadata>)>);

#[test]
fn each_save_of_a_group_has_its_own_outcome() {
    let folder = tempfile::tempdir().unwrap();
    let store = BlobManager::new(folder.path());
    store.save("taken", &0, Format::Json).unwrap();
    let (told, outcomes): Outcomes = mpsc::channel();
    let cancelled = CancelToken::new();
    cancelled.cancel();
    for at in 0..300 {
        let (mut options, mut token) = (SaveOptions::default(), CancelToken::new());
        let mut key = format!("k/{at}");
        match at % 6 {
            1 => key = "taken".into(),
            2 => key = String::new(),
            3 => token = cancelled.clone(),
            4 => options.durability = Some(Durability::Disk),
            _ => {}
        }
        if at % 6 == 1 {
            options.condition = Condition::Absent;
        }
        let told = told.clone();
        let content = if at % 6 == 5 { "7".repeat(400_000) } else { at.to_string() };
        store.save_soon(save(&key, &content, options), token, move |saved| {
            told.send((at, saved)).unwrap();
        });
    }
    for _ in 0..300 {
        let (at, saved) = outcomes.recv_timeout(PATIENCE).expect("every save is told");
        match (at % 6, saved.as_ref().map_err(holdall::Error::kind)) {
            (1, Err(ErrorKind::Conflict))
            | (2, Err(ErrorKind::InvalidKey))
            | (3, Err(ErrorKind::Cancelled)) => {}
            (0 | 4 | 5, Ok(saved)) => assert_eq!(saved.key, format!("k/{at}")),
            (_, other) => panic!("{at}: {other:?}"),
        }
    }
    for at in 0..300 {
        let there = store.exists(&format!("k/{at}")).unwrap();
        assert_eq!(there, matches!(at % 6, 0 | 4 | 5), "{at}");
    }
    assert_eq!(store.load::<i32>("taken").unwrap(), 0);
    assert_eq!(store.get_stats().unwrap().entries, 151);
}

#[test]
fn saves_to_one_key_at_once_are_each_a_save_of_its_own_and_leave_one_value() {
    let folder = tempfile::tempdir().unwrap();
    let store = BlobManager::new(folder.path());
    store.save("k", &-1, Format::Json).unwrap();
    let (told, outcomes): Outcomes = mpsc::channel();
    for at in 0..200 {
        let told = told.clone();
        let one = save("k", &at.to_string(), SaveOptions::default());
        store.save_soon(one, CancelToken::new(), move |saved| told.send((at, saved)).unwrap());
    }
    let mut etags = std::collections::HashSet::new();
    for _ in 0..200 {
        let (_, saved) = outcomes.recv_timeout(PATIENCE).expect("every save is told");
        etags.insert(saved.unwrap().etag);
    }
    assert_eq!(etags.len(), 200, "each was a save of its own");
    assert!((0..200).contains(&store.load::<i32>("k").unwrap()));
    assert_eq!(std::fs::read_dir(folder.path().join(".holdall/tmp")).unwrap().count(), 0);
}

#[test]
fn a_caller_that_panics_when_it_is_told_keeps_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let store = BlobManager::new(folder.path());
    let (told, outcomes): Outcomes = mpsc::channel();
    for at in 0..40 {
        let told = told.clone();
        let one = save(&format!("k{at}"), "1", SaveOptions::default());
        store.save_soon(one, CancelToken::new(), move |saved| {
            if at % 4 == 0 {
                std::panic::resume_unwind(Box::new("a broken caller"));
            }
            told.send((at, saved)).unwrap();
        });
    }
    for _ in 0..30 {
        let (_, saved) = outcomes.recv_timeout(PATIENCE).expect("every other save is told");
        saved.unwrap();
    }
    let one = save("later", "1", SaveOptions::default());
    store.save_soon(one, CancelToken::new(), move |saved| told.send((0, saved)).unwrap());
    outcomes.recv_timeout(PATIENCE).expect("told").1.unwrap();
}
