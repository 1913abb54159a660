//! Loading a missing value, once for all who ask.

use std::any::Any;
use std::hash::BuildHasher;
use std::sync::Arc;

use super::manager::{CacheManager, Shared};
use super::single_flight::{Flight, Join, Loaded};
use crate::clock::Ttl;
use crate::error::{Error, ErrorKind};

enum Turn<V> {
    Found(V),
    Join(Join<Loaded<V>>),
}

impl<V: Clone + Send + 'static> CacheManager<V> {
    /// The value under a key; if there is none, what `loader` returns, which is then kept.
    ///
    /// Threads that ask for one missing key at the same time cause one load (blocks until it
    /// ends): all get its value or its error. A failure is not kept: the next call loads again. If
    /// the loader panics, another of those who wait loads. If the key is written or deleted while
    /// the load runs, the loaded value is returned but not kept. The time to live begins when the
    /// load has ended. Two loaders that wait for each other's keys wait for ever.
    ///
    /// # Errors
    /// The loader's, shared by all who waited. Made from an [`Error`]: `InvalidKey`,
    /// `InvalidArgument` for a TTL of zero, or for a loader that asks for the key it is loading.
    pub fn get_or_set<E>(
        &self,
        key: &str,
        loader: impl FnOnce() -> Result<V, E>,
        ttl: Ttl,
    ) -> Result<V, Arc<E>>
    where
        E: From<Error> + Send + Sync + 'static,
    {
        let refused = |error: Error| Arc::new(E::from(error.during("load")));
        let life = self.shared.checked(key, ttl).map_err(refused)?;
        let hash = self.shared.hasher.hash_one(key);
        let mut counted = false;
        loop {
            let turn = self.shared.locked(|state, now, out| {
                let found = if counted {
                    state.cache.peek(hash, |held| **held == *key, now)
                } else {
                    state.cache.get(hash, |held| **held == *key, now, out)
                };
                match found {
                    Some(value) => Turn::Found(value.clone()),
                    None => Turn::Join(state.loads.join(key)),
                }
            });
            counted = true;
            match turn {
                Turn::Found(value) => return Ok(value),
                Turn::Join(Join::Lead(flight)) => {
                    return Leader { shared: &self.shared, key, flight }.load(loader, life);
                }
                Turn::Join(Join::Wait(flight)) => match flight.wait() {
                    Some(Ok(value)) => return Ok(value),
                    // An error of another type is of no use here: load.
                    Some(Err(error)) => {
                        if let Ok(error) = error.downcast() {
                            return Err(error);
                        }
                    }
                    None => {}
                },
                Turn::Join(Join::Own) => {
                    let cause = "its loader asks for the key that it is loading";
                    let error = Error::new(ErrorKind::InvalidArgument, cause).on_key(key);
                    return Err(refused(error.remedy("load it without asking the cache")));
                }
            }
        }
    }
}

/// The one who loads. Its end is the end of the flight, also when the loader panics.
struct Leader<'a, V> {
    shared: &'a Shared<V>,
    key: &'a str,
    flight: Arc<Flight<Loaded<V>>>,
}

impl<V: Clone> Leader<'_, V> {
    fn load<E: Send + Sync + 'static>(
        self,
        loader: impl FnOnce() -> Result<V, E>,
        life: Option<u64>,
    ) -> Result<V, Arc<E>> {
        let value = match loader() {
            Ok(value) => value,
            Err(error) => {
                let error = Arc::new(error);
                self.shared.locked(|state, _, _| state.loads.land(self.key, &self.flight));
                self.flight.finish(Err(Arc::clone(&error) as Arc<dyn Any + Send + Sync>));
                return Err(error);
            }
        };
        // Taken out only to be kept: else it is dropped after the lock is released.
        let mut entry = Some(self.shared.entry(self.key, value.clone()));
        self.shared.put(life, |state, now, out| {
            if state.loads.land(self.key, &self.flight) {
                entry.take().into_iter().for_each(|entry| state.write(entry, life, now, out));
            }
        });
        self.flight.finish(Ok(value.clone()));
        Ok(value)
    }
}

impl<V> Drop for Leader<'_, V> {
    fn drop(&mut self) {
        self.shared.locked(|state, _, _| state.loads.land(self.key, &self.flight));
        self.flight.abandon();
    }
}
