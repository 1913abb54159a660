//! What there is: pages of values and keys, by the beginning of the key or by a tag.

use super::watch::Operation;
use super::{BlobManager, BlobMetadata};
use crate::error::Result;
use crate::key::{Key, KeyPage};
use crate::record::Record;

impl BlobManager {
    /// A page of the values whose keys start with `prefix` and come after `after`, in the order
    /// of the keys' UTF-8 bytes. A page shorter than `limit` is the last one.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`].
    pub fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<BlobMetadata>> {
        let after = after.map(Key::new).transpose()?;
        let list = || self.backend.list(prefix, after.as_ref(), limit);
        let page = self.watched(Operation::List, None, |_| 0, list);
        Ok(described(page.map_err(|error| error.during("list the keys"))?))
    }

    /// As [`BlobManager::list`], the keys alone, for less.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`].
    pub fn list_keys(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<KeyPage> {
        let after = after.map(Key::new).transpose()?;
        let list = || self.backend.keys(prefix, after.as_ref(), limit);
        let page = self.watched(Operation::List, None, |_| 0, list);
        page.map_err(|error| error.during("list the keys"))
    }

    /// As [`BlobManager::list`], of the values with a tag.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`].
    pub fn tagged(
        &self,
        tag: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<BlobMetadata>> {
        let after = after.map(Key::new).transpose()?;
        let list = || self.backend.tagged(tag, after.as_ref(), limit);
        let page = self.watched(Operation::List, None, |_| 0, list);
        Ok(described(page.map_err(|error| error.during("list the tag"))?))
    }

    /// All keys that start with `prefix`, in order, read page by page.
    pub fn keys(&self, prefix: &str) -> impl Iterator<Item = Result<String>> + use<> {
        const PAGE: usize = 1_000;
        let (manager, prefix) = (self.clone(), prefix.to_owned());
        let mut page = Vec::new().into_iter();
        let mut after: Option<String> = None;
        let mut is_last = false;
        std::iter::from_fn(move || {
            loop {
                if let Some(next) = page.next() {
                    return Some(Ok(next));
                }
                if is_last {
                    return None;
                }
                match manager.list_keys(&prefix, after.as_deref(), PAGE) {
                    Ok(next) => {
                        is_last = next.len() < PAGE;
                        let next: Vec<String> = next.iter().map(str::to_owned).collect();
                        after = next.last().cloned();
                        page = next.into_iter();
                    }
                    Err(error) => {
                        is_last = true;
                        return Some(Err(error));
                    }
                }
            }
        })
    }
}

fn described(page: Vec<(Key, Record)>) -> Vec<BlobMetadata> {
    page.into_iter().map(|(key, record)| BlobMetadata::new(key, record)).collect()
}
