//! What a save says beside key, format and value.

use holdall::format::Codec;
use holdall::{Condition, Durability, ErrorKind, SaveOptions};
use pyo3::prelude::*;

use crate::convert;
use crate::errors;

/// What a save says beside key, format and value.
pub(crate) struct About<'a, 'py> {
    pub(crate) ttl: &'a Bound<'py, PyAny>,
    pub(crate) tags: Vec<String>,
    pub(crate) metadata: Option<Vec<u8>>,
    pub(crate) if_absent: bool,
    pub(crate) if_match: Option<String>,
    pub(crate) durability: Option<&'a str>,
    pub(crate) compression: Option<&'a str>,
}

impl About<'_, '_> {
    pub(crate) fn options(self, py: Python<'_>) -> PyResult<SaveOptions> {
        let condition = match (self.if_absent, self.if_match) {
            (false, None) => Condition::Any,
            (true, None) => Condition::Absent,
            (false, Some(etag)) => Condition::Matches(etag),
            (true, Some(_)) => {
                let cause = "if_absent and if_match exclude each other";
                return Err(errors::told(py, ErrorKind::InvalidArgument, cause));
            }
        };
        let durability = self.durability.map(Durability::from_name).transpose();
        let compression = self.compression.map(Codec::from_name).transpose();
        Ok(SaveOptions {
            ttl: convert::ttl(self.ttl)?,
            tags: self.tags,
            metadata: self.metadata,
            condition,
            durability: durability.map_err(|error| errors::raised(py, &error))?,
            compression: compression.map_err(|error| errors::raised(py, &error))?,
            ..SaveOptions::default()
        })
    }
}
