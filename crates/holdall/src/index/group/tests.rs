use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::*;

/// An index that counts its commits, waits in each for `door`, refuses the key "bad", panics at "panic".
#[derive(Default)]
struct Fake {
    commits: AtomicUsize,
    door: Mutex<()>,
    kept: Mutex<Vec<String>>,
}

impl Fake {
    fn apply(&self, changes: &[Change]) -> Result<()> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        drop(locked(&self.door));
        let keys = changes.iter().map(|change| match change {
            Change::Remove { key, .. } => key.clone(),
            Change::Put(_) | Change::Keep(_) => unreachable!("these tests only remove"),
        });
        let keys: Vec<String> = keys.collect();
        if keys.iter().any(|key| key == "bad") {
            return Err(Error::new(ErrorKind::InvalidArgument, "bad"));
        }
        if keys.iter().any(|key| key == "busy") {
            return Err(Error::new(ErrorKind::Busy, "busy"));
        }
        // `resume_unwind` is a panic without the message.
        if keys.iter().any(|key| key == "panic") {
            panic::resume_unwind(Box::new("made by the test"));
        }
        locked(&self.kept).extend(keys);
        Ok(())
    }
}

fn committing_to(fake: &Arc<Fake>) -> GroupCommit {
    let fake = Arc::clone(fake);
    GroupCommit::new(move |changes| fake.apply(changes))
}

fn removal(key: &str) -> Vec<Change> {
    vec![Change::Remove { key: key.into(), generation: None }]
}

/// Commits "first" alone and, while that is held up, the `keys` as one group; the kind of error
/// that each of the keys got, or the panic.
fn commit_as_one_group(keys: &[&str]) -> (Arc<Fake>, Vec<thread::Result<Option<ErrorKind>>>) {
    let fake = Arc::new(Fake::default());
    let group = committing_to(&fake);
    let answers = thread::scope(|scope| {
        let door = locked(&fake.door);
        let first = scope.spawn(|| group.commit(removal("first")));
        while fake.commits.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        let mut members = Vec::new();
        for key in keys {
            members.push(scope.spawn(|| group.commit(removal(key)).err().map(|e| e.kind())));
            while locked(&group.queue).waiting.len() < members.len() {
                thread::yield_now();
            }
        }
        drop(door);
        first.join().unwrap().unwrap();
        members.into_iter().map(|member| member.join()).collect()
    });
    group.commit(removal("last")).unwrap();
    (fake, answers)
}

#[test]
fn what_waits_together_is_committed_together() {
    let (fake, answers) = commit_as_one_group(&["a", "b", "c", "d"]);
    assert!(answers.into_iter().all(|answer| answer.unwrap().is_none()));
    assert_eq!(fake.commits.load(Ordering::SeqCst), 3);
    assert_eq!(*locked(&fake.kept), ["first", "a", "b", "c", "d", "last"]);
}

#[test]
fn only_the_failing_member_of_a_group_gets_the_error() {
    let (fake, answers) = commit_as_one_group(&["a", "bad", "c"]);
    let answers: Vec<_> = answers.into_iter().map(thread::Result::unwrap).collect();
    assert_eq!(answers, [None, Some(ErrorKind::InvalidArgument), None]);
    assert_eq!(*locked(&fake.kept), ["first", "a", "c", "last"]);
}

#[test]
fn a_busy_index_is_waited_for_once_and_not_once_a_member() {
    let (fake, answers) = commit_as_one_group(&["a", "busy", "c"]);
    assert!(answers.into_iter().all(|answer| answer.unwrap() == Some(ErrorKind::Busy)));
    assert_eq!(fake.commits.load(Ordering::SeqCst), 3);
}

#[test]
fn nobody_is_left_waiting_when_the_leader_panics() {
    let (fake, answers) = commit_as_one_group(&["a", "panic", "c"]);
    let panicked = answers.iter().filter(|answer| answer.is_err()).count();
    let failed = answers.iter().filter(|answer| matches!(answer, Ok(Some(ErrorKind::Io)))).count();
    assert_eq!((panicked, failed), (1, 2));
    assert_eq!(*locked(&fake.kept), ["first", "last"]);
}

#[test]
fn a_caller_with_many_changes_commits_them_alone_and_whole() {
    let many: Vec<Change> = (0..2 * MOST_CHANGES).flat_map(|i| removal(&i.to_string())).collect();
    let fake = Arc::new(Fake::default());
    committing_to(&fake).commit(many).unwrap();
    assert_eq!(fake.commits.load(Ordering::SeqCst), 1);
    assert_eq!(locked(&fake.kept).len(), 2 * MOST_CHANGES);
}
