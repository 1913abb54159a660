//! Which values a command is about: keys by name, by the beginning of the key, by tag.

use clap::Args;
use holdall::{BlobManager, BlobMetadata};

use crate::exit::Failure;

/// How many values are asked for at a time.
const PAGE: usize = 1_000;

/// Values by the beginning of their keys, or by a tag.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Filter {
    /// Only keys that start so
    #[arg(value_name = "PREFIX", default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,

    /// Only values with this tag
    #[arg(short, long, value_name = "TAG")]
    pub(crate) tag: Option<String>,
}

impl Filter {
    /// How many there are, where all are asked for; else that is found out on the way.
    pub(crate) fn total(&self, blobs: &BlobManager) -> Result<Option<u64>, Failure> {
        let is_all = self.prefix.is_empty() && self.tag.is_none();
        Ok(if is_all { Some(blobs.get_stats()?.entries) } else { None })
    }

    /// The values, in the order of their keys, page by page.
    pub(crate) fn values(
        &self,
        blobs: &BlobManager,
        after: Option<String>,
    ) -> impl Iterator<Item = Result<BlobMetadata, Failure>> + use<> {
        let filter = self.clone();
        pages(blobs.clone(), after, move |blobs, after| match &filter.tag {
            Some(tag) => blobs.tagged(tag, after, PAGE),
            None => blobs.list(&filter.prefix, after, PAGE),
        })
        .filter({
            let prefix = self.prefix.clone();
            move |value| !value.as_ref().is_ok_and(|value| !value.key.starts_with(&prefix))
        })
    }
}

fn pages(
    blobs: BlobManager,
    mut after: Option<String>,
    ask: impl Fn(&BlobManager, Option<&str>) -> holdall::Result<Vec<BlobMetadata>>,
) -> impl Iterator<Item = Result<BlobMetadata, Failure>> {
    let mut page = Vec::new().into_iter();
    let mut is_last = false;
    std::iter::from_fn(move || {
        loop {
            if let Some(value) = page.next() {
                return Some(Ok(value));
            }
            if is_last {
                return None;
            }
            match ask(&blobs, after.as_deref()) {
                Ok(found) => {
                    is_last = found.len() < PAGE;
                    after = found.last().map(|value| value.key.clone());
                    page = found.into_iter();
                }
                Err(error) => {
                    is_last = true;
                    return Some(Err(error.into()));
                }
            }
        }
    })
}
