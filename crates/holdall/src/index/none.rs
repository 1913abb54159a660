//! The index of a store that can have none: a read-only mount, a network file system.

use super::{Change, Index, Row, Suspended, Totals};
use crate::error::{Error, ErrorKind, Result};

/// Holds nothing: changes are dropped, and questions that need an index are answered `Disabled`.
#[derive(Debug, Clone)]
pub(crate) struct NoIndex {
    why: &'static str,
}

impl NoIndex {
    /// `why` is a clause that the error shows, such as "the file system is mounted read-only".
    pub(crate) const fn new(why: &'static str) -> Self {
        Self { why }
    }

    fn refuse<T>(&self) -> Result<T> {
        Err(Error::new(ErrorKind::Disabled, format!("this store has no index: {}", self.why))
            .remedy("load values by their keys, or open the store on a local disk"))
    }
}

impl Index for NoIndex {
    fn is_available(&self) -> bool {
        false
    }

    fn apply(&self, _changes: &[Change]) -> Result<()> {
        Ok(())
    }

    fn get(&self, _key: &str) -> Result<Option<Row>> {
        Ok(None)
    }

    fn page(&self, _prefix: &str, _after: Option<&str>, _limit: usize) -> Result<Vec<Row>> {
        self.refuse()
    }

    fn expired(&self, _now: u64, _limit: usize) -> Result<Vec<Row>> {
        self.refuse()
    }

    fn tagged(&self, _tag: &str, _after: Option<&str>, _limit: usize) -> Result<Vec<Row>> {
        self.refuse()
    }

    fn totals(&self) -> Result<Totals> {
        self.refuse()
    }

    fn is_complete(&self) -> Result<bool> {
        Ok(false)
    }

    fn set_complete(&self, _complete: bool) -> Result<()> {
        Ok(())
    }

    fn clear_all(&self) -> Result<()> {
        Ok(())
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn suspend(&self) -> Suspended<'_> {
        Suspended(Box::new(()))
    }

    fn close(&self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_without_an_index_takes_changes_and_refuses_to_list() {
        let index = NoIndex::new("the file system is mounted read-only");
        assert!(!index.is_available());
        assert!(!index.is_complete().unwrap());
        let gone = Change::Remove { key: "a".into(), generation: None };
        index.apply(&[gone]).unwrap();
        assert_eq!(index.get("a").unwrap(), None);
        let error = index.page("", None, 10).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Disabled);
        assert!(error.to_string().contains("mounted read-only"));
    }
}
