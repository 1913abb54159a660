//! Saves that meet: those that wait while others are being placed are placed together.
//!
//! One thread of the pool at a time takes what waits of one manager and places it as one batch,
//! at the cost of one commit. Nobody waits for others to come: a save alone is placed at once.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};

use arc_swap::ArcSwapOption;

use super::watch::Operation;
use super::{BlobManager, BlobMetadata, Save, named};
use crate::backend::{Durability, Put};
use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::sync::{Mutex, MutexGuard};
use crate::{fork, pool};

/// The most values, and bytes, that are placed together.
const MOST_VALUES: usize = 64;
const MOST_BYTES: u64 = 4 << 20;
/// Larger values are placed by themselves, at the same time as others.
const LARGE: u64 = 256 << 10;
/// Flushes of several threads share the work of the disk; without flushes, one is as fast as many.
const MOST_FLUSHING: usize = 8;

type Done = Box<dyn FnOnce(Result<BlobMetadata>) + Send>;

struct Job {
    save: Save,
    token: CancelToken,
    done: Done,
}

/// What waits, of one manager in one process.
#[derive(Default)]
struct Queue {
    made_in: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    /// Threads that place batches.
    at_work: usize,
}

/// The queue of a manager; a forked child has none of its parent's threads and gets its own.
#[derive(Default)]
pub(super) struct Group(ArcSwapOption<Queue>);

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Group")
    }
}

impl Group {
    fn queue(&self) -> Arc<Queue> {
        let made_in = fork::generation();
        let current = self.0.load_full();
        if let Some(queue) = current.filter(|queue| queue.made_in == made_in) {
            return queue;
        }
        let new = Arc::new(Queue { made_in, ..Queue::default() });
        self.0.rcu(|current| match current {
            Some(queue) if queue.made_in == made_in => Some(Arc::clone(queue)),
            _ => Some(Arc::clone(&new)),
        });
        self.0.load_full().unwrap_or(new)
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next batch; `None`, and one thread less at work, if nothing waits.
    fn take(&self) -> Option<Vec<Job>> {
        let mut state = self.state();
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(job) = state.waiting.front() {
            let size = job.save.size();
            if batch.len() == MOST_VALUES || (bytes > 0 && bytes + size > MOST_BYTES) {
                break;
            }
            bytes += size;
            batch.extend(state.waiting.pop_front());
        }
        if batch.is_empty() {
            state.at_work -= 1;
            return None;
        }
        Some(batch)
    }
}

impl Save {
    fn size(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes().len() as u64).sum()
    }
}

impl BlobManager {
    /// Saves a value on a thread of the pool, together with others that wait; `done` is told
    /// there, by [`BlobManager::save_parts`]'s result. The token cancels this save alone.
    pub fn save_soon(
        &self,
        save: Save,
        token: CancelToken,
        done: impl FnOnce(Result<BlobMetadata>) + Send + 'static,
    ) {
        let (begun, watcher) = (self.begin(Operation::Save), self.clone());
        let size = save.size();
        let done: Done = Box::new(move |saved| {
            match &saved {
                Ok(saved) => watcher.end(begun, Some(&saved.key), Some(saved.size)),
                Err(error) => watcher.end(begun, error.key(), None),
            }
            done(saved);
        });
        let job = Job { save, token, done };
        let manager = self.clone();
        if size > LARGE {
            pool::execute(move || manager.place(vec![job]));
            return;
        }
        let durability = job.save.options.durability.unwrap_or(self.options.durability);
        let most = if durability == Durability::Disk { MOST_FLUSHING } else { 1 };
        let queue = self.group.queue();
        {
            let mut state = queue.state();
            state.waiting.push_back(job);
            if state.at_work >= most {
                return;
            }
            state.at_work += 1;
        }
        pool::execute(move || {
            while let Some(batch) = queue.take() {
                manager.place(batch);
            }
        });
    }

    fn place(&self, batch: Vec<Job>) {
        let is_group = batch.len() > 1;
        let mut waiting = Vec::with_capacity(batch.len());
        let mut puts = Vec::with_capacity(batch.len());
        for Job { save, token, done } in batch {
            let key = save.key.clone();
            let prepared = catch_unwind(AssertUnwindSafe(|| token.run(|| self.prepare(save))));
            match prepared.unwrap_or_else(|_| Err(not_carried_out())) {
                // Somebody writes the key at this moment, and may have been stopped in the middle:
                // the others must not wait for that.
                Ok(put) if is_group && self.backend().version(&put.key).is_none() => {
                    let manager = self.clone();
                    pool::execute(move || manager.put_all(vec![put], vec![done]));
                }
                Ok(put) => {
                    waiting.push(done);
                    puts.push(put);
                }
                Err(error) => tell(done, named(Err(error), "save", &key)),
            }
        }
        self.put_all(puts, waiting);
    }

    fn put_all(&self, puts: Vec<Put>, waiting: Vec<Done>) {
        let keys: Vec<Key> = puts.iter().map(|put| put.key.clone()).collect();
        let placed = catch_unwind(AssertUnwindSafe(|| self.put_signed(puts)));
        let mut placed = placed.unwrap_or_default().into_iter();
        for (key, done) in keys.into_iter().zip(waiting) {
            let placed = placed.next().unwrap_or_else(|| Err(not_carried_out()));
            let text = key.as_str().to_owned();
            let saved = placed.map(|placed| BlobMetadata::placed(key, placed));
            tell(done, named(saved, "save", &text));
        }
    }
}

fn not_carried_out() -> Error {
    Error::new(ErrorKind::Io, "the write was not carried out")
}

/// Tells one caller. If that panics, the others of its batch, and all who come later, must not wait
/// for ever.
fn tell(done: Done, saved: Result<BlobMetadata>) {
    if catch_unwind(AssertUnwindSafe(|| done(saved))).is_err() {
        tracing::error!("the caller of a save has panicked when it was told");
    }
}
