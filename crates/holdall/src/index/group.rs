//! Group commit: the changes of many threads in one transaction.
//!
//! The first thread that finds nobody at work becomes the leader, takes everything that is queued
//! and commits it at once; what arrives meanwhile is the next group. There is no waiting for
//! company, so a lone caller pays nothing.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, PoisonError};

use super::Change;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::{Condvar, Mutex, MutexGuard};

/// The most changes in one transaction, unless one caller alone has more: a few milliseconds.
const MOST_CHANGES: usize = 512;

/// Makes changes in one transaction, as [`super::Index::apply`] does.
type Apply = dyn Fn(&[Change]) -> Result<()> + Send + Sync;

/// Commits to one index on behalf of many threads.
pub(crate) struct GroupCommit {
    apply: Box<Apply>,
    queue: Mutex<Queue>,
    done: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Member>,
    led: bool,
}

/// One caller's changes and the place for its answer.
struct Member {
    changes: Vec<Change>,
    answer: Arc<Mutex<Option<Result<()>>>>,
}

impl GroupCommit {
    pub(crate) fn new(apply: impl Fn(&[Change]) -> Result<()> + Send + Sync + 'static) -> Self {
        Self { apply: Box::new(apply), queue: Mutex::default(), done: Condvar::new() }
    }

    /// Commits `changes`, all or none, together with those of other threads; blocks until they are
    /// visible to every process.
    ///
    /// # Errors
    /// As [`super::Index::apply`]; an error that is another caller's fault is never given to this one.
    pub(crate) fn commit(&self, changes: Vec<Change>) -> Result<()> {
        let answer = Arc::new(Mutex::new(None));
        let mut queue = locked(&self.queue);
        queue.waiting.push_back(Member { changes, answer: Arc::clone(&answer) });
        loop {
            if let Some(answer) = locked(&answer).take() {
                return answer;
            }
            if queue.led {
                queue = self.done.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            queue.led = true;
            let group = next_group(&mut queue.waiting);
            drop(queue);
            let led = catch_unwind(AssertUnwindSafe(|| self.lead(&group)));
            queue = locked(&self.queue);
            queue.led = false;
            for answer in group.answers.iter().filter(|_| led.is_err()) {
                locked(answer).get_or_insert_with(|| Err(leader_panicked()));
            }
            self.done.notify_all();
            if let Err(panic) = led {
                drop(queue);
                resume_unwind(panic);
            }
        }
    }

    fn lead(&self, group: &Group) {
        let together = (self.apply)(&group.changes);
        if let [only] = &group.answers[..] {
            *locked(only) = Some(together);
            return;
        }
        let mut start = 0;
        for (answer, end) in group.answers.iter().zip(&group.ends) {
            let result = match &together {
                Ok(()) => Ok(()),
                Err(error) if concerns_all(error) => Err(again(error)),
                Err(_) => (self.apply)(&group.changes[start..*end]),
            };
            *locked(answer) = Some(result);
            start = *end;
        }
    }
}

/// What one leader commits: member `i` has the changes up to `ends[i]`.
#[derive(Default)]
struct Group {
    changes: Vec<Change>,
    ends: Vec<usize>,
    answers: Vec<Arc<Mutex<Option<Result<()>>>>>,
}

fn next_group(waiting: &mut VecDeque<Member>) -> Group {
    let mut group = Group::default();
    while let Some(next) = waiting.front() {
        let fits = group.changes.len() + next.changes.len() <= MOST_CHANGES;
        if !fits && !group.ends.is_empty() {
            break;
        }
        if let Some(member) = waiting.pop_front() {
            group.changes.extend(member.changes);
            group.ends.push(group.changes.len());
            group.answers.push(member.answer);
        }
    }
    group
}

/// Errors for which a second try of every member would only multiply the wait.
fn concerns_all(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Busy | ErrorKind::Closed | ErrorKind::Disabled)
}

/// The same error once more, for the kinds that concern all.
fn again(error: &Error) -> Error {
    let copy = Error::new(error.kind(), error.cause().to_owned()).remedy("try again");
    match error.path() {
        Some(path) => copy.at(path),
        None => copy,
    }
}

fn leader_panicked() -> Error {
    Error::new(ErrorKind::Io, "the thread that committed for several failed inside the index")
        .remedy("try again, and report this as a defect")
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
