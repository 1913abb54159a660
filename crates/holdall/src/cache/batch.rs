//! Several keys under one lock.

use std::hash::BuildHasher;

use super::manager::CacheManager;
use crate::clock::Ttl;
use crate::error::Result;

impl<V: Clone + Send + 'static> CacheManager<V> {
    /// What was found of several keys, in the order asked; counts a hit or a miss each.
    #[must_use]
    pub fn get_many<S: AsRef<str>>(&self, keys: impl IntoIterator<Item = S>) -> Vec<(String, V)> {
        let keys: Vec<S> = keys.into_iter().collect();
        let hasher = &self.shared.hasher;
        self.shared.locked(|state, now, out| {
            let found = keys.iter().map(AsRef::as_ref).filter_map(|key: &str| {
                let hash = hasher.hash_one(key);
                let value = state.cache.get(hash, |held| **held == *key, now, out)?;
                Some((key.to_owned(), value.clone()))
            });
            found.collect()
        })
    }

    /// Puts several values under their keys, all with the same time to live, in one step.
    ///
    /// # Errors
    /// As [`set`](Self::set), for the first key that is not allowed; nothing was touched.
    pub fn set_many<S: AsRef<str>>(
        &self,
        items: impl IntoIterator<Item = (S, V)>,
        ttl: Ttl,
    ) -> Result<()> {
        let mut entries = Vec::new();
        let mut life = None;
        for (key, value) in items {
            let checked = self.shared.checked(key.as_ref(), ttl);
            life = checked.map_err(|error| error.during("set"))?;
            entries.push(self.shared.entry(key.as_ref(), value));
        }
        self.shared.put(life, |state, now, out| {
            for entry in entries {
                state.loads.overtake(&entry.key);
                state.write(entry, life, now, out);
            }
        });
        Ok(())
    }

    /// Deletes several keys; how many had a value.
    pub fn delete_many<S: AsRef<str>>(&self, keys: impl IntoIterator<Item = S>) -> usize {
        let keys: Vec<S> = keys.into_iter().collect();
        let hasher = &self.shared.hasher;
        self.shared.locked(|state, now, out| {
            let deleted = keys.iter().map(AsRef::as_ref).filter(|key: &&str| {
                state.loads.overtake(key);
                let hash = hasher.hash_one(*key);
                state.cache.remove(hash, |held| **held == **key, now, out)
            });
            deleted.count()
        })
    }
}
