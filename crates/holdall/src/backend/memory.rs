//! Values in memory, for tests and for programs that switch the disk off.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use xxhash_rust::xxh3::xxh3_64;

use super::{Backend, Condition, Durability, Object, Placed, Put, Totals};
use crate::cancel;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::format::Format;
use crate::key::Key;
use crate::record::{Expiry, Record};
use crate::sync::{Mutex, MutexGuard};

/// A backend that forgets everything when it is dropped. Nothing touches the disk.
#[derive(Debug, Default)]
pub struct MemoryBackend {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<Key, Object>,
    total_size: u64,
    generation: u64,
}

impl State {
    fn remove(&mut self, key: &Key) -> Option<Object> {
        let object = self.objects.remove(key)?;
        self.total_size -= object.record.length;
        self.generation += 1;
        Some(object)
    }

    fn live(&self, key: &Key, clock: &Clock) -> Option<&Object> {
        self.objects.get(key).filter(|object| !object.record.is_expired(clock))
    }

    fn remove_where(&mut self, ends: impl Fn(&Record) -> bool) -> u64 {
        let keys = self.objects.iter().filter(|(_, object)| ends(&object.record));
        let keys: Vec<Key> = keys.map(|(key, _)| key.clone()).collect();
        for key in &keys {
            self.remove(key);
        }
        keys.len() as u64
    }
}

impl MemoryBackend {
    /// An empty one that reads this clock.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expiry(&self, ttl: Option<u64>) -> Option<Expiry> {
        ttl.map(|millis| Expiry::after(millis, &self.clock))
    }

    fn page(
        &self,
        after: Option<&Key>,
        limit: usize,
        wanted: impl Fn(&Key, &Record) -> bool,
    ) -> Vec<(Key, Record)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let state = self.state();
        let live =
            state.objects.range::<Key, _>((from, Bound::Unbounded)).filter(|(key, object)| {
                !object.record.is_expired(&self.clock) && wanted(key, &object.record)
            });
        live.take(limit).map(|(key, object)| (key.clone(), object.record.clone())).collect()
    }
}

impl Backend for MemoryBackend {
    fn put(&self, put: Put) -> Result<Placed> {
        let content = put.parts.iter().flat_map(|part| part.bytes().iter().copied());
        let content: Vec<u8> = content.collect();
        let updated = self.clock.wall_micros() / 1_000;
        let mut state = self.state();
        put.check()?;
        let current = state.objects.get(&put.key).map(|object| &object.record);
        put.admit(current, &self.clock)?;
        let continues = put.continues.as_ref();
        let current =
            current.filter(|record| continues.is_some() || !record.is_expired(&self.clock));
        let noted = put.created.map(|created| created.min(updated));
        let record = Record {
            generation: state.generation + 1,
            format: put.format,
            codec: put.codec,
            length: content.len() as u64,
            checksum: xxh3_64(&content),
            created: noted.or(current.map(|record| record.created)).unwrap_or(updated),
            updated,
            expiry: continues.map_or_else(|| self.expiry(put.ttl), |record| record.expiry),
            signature: put.signature,
            tags: put.tags,
            metadata: put.metadata,
            foreign: false,
        };
        state.remove(&put.key);
        state.generation = record.generation.max(state.generation + 1);
        state.total_size += record.length;
        let record = Record { generation: state.generation, ..record };
        state.objects.insert(put.key, Object { record: record.clone(), content });
        Ok(Placed { record, version: Some(state.generation) })
    }

    fn get(&self, key: &Key, _wanted: Option<Format>) -> Result<Option<Object>> {
        Ok(self.state().live(key, &self.clock).cloned())
    }

    fn head(&self, key: &Key) -> Result<Option<Record>> {
        Ok(self.state().live(key, &self.clock).map(|object| object.record.clone()))
    }

    fn set_ttl(
        &self,
        key: &Key,
        ttl: Option<u64>,
        _durability: Durability,
    ) -> Result<Option<Record>> {
        let mut state = self.state();
        cancel::check()?;
        if state.live(key, &self.clock).is_none() {
            return Ok(None);
        }
        state.generation += 1;
        let (generation, expiry) = (state.generation, self.expiry(ttl));
        Ok(state.objects.get_mut(key).map(|object| {
            object.record.generation = generation;
            object.record.expiry = expiry;
            object.record.clone()
        }))
    }

    fn delete(&self, key: &Key, condition: &Condition, _durability: Durability) -> Result<bool> {
        let mut state = self.state();
        cancel::check()?;
        let current = state.live(key, &self.clock).map(|object| &object.record);
        let was_there = current.is_some();
        condition.check(current)?;
        state.remove(key);
        Ok(was_there)
    }

    fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Record)>> {
        Ok(self.page(after, limit, |key, _| key.as_str().starts_with(prefix)))
    }

    fn tagged(&self, tag: &str, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Record)>> {
        Ok(self.page(after, limit, |_, record| record.tags.iter().any(|own| own == tag)))
    }

    fn expire(&self, _durability: Durability) -> Result<u64> {
        Ok(self.state().remove_where(|record| record.is_expired(&self.clock)))
    }

    fn clear(&self, _durability: Durability) -> Result<u64> {
        Ok(self.state().remove_where(|_| true))
    }

    fn totals(&self) -> Result<Totals> {
        let state = self.state();
        Ok(Totals { entries: state.objects.len() as u64, total_size: state.total_size })
    }

    fn version(&self, _key: &Key) -> Option<u64> {
        Some(self.state().generation)
    }

    fn revalidate(&self, _key: &Key, _generation: u64) -> Result<()> {
        Ok(())
    }

    fn locate(&self, _key: &Key) -> Result<Option<(PathBuf, Record)>> {
        Err(Error::new(ErrorKind::InvalidArgument, "a store in memory has no files")
            .remedy("load the value instead"))
    }

    fn every(&self, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Option<Record>)>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let state = self.state();
        let all = state.objects.range::<Key, _>((from, Bound::Unbounded)).take(limit);
        Ok(all.map(|(key, object)| (key.clone(), Some(object.record.clone()))).collect())
    }

    fn get_expired(&self, key: &Key) -> Result<Option<Object>> {
        Ok(self.state().objects.get(key).cloned())
    }

    fn store_id(&self) -> Result<[u8; 16]> {
        Ok(*b"holdall, memory.")
    }

    fn folder(&self) -> Option<&Path> {
        None
    }

    fn close(&self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::conformance;

    #[test]
    fn it_keeps_to_the_rules_of_backends() {
        conformance::check(MemoryBackend::new);
    }
}
