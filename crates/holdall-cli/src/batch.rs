//! Values that are saved together, which is many times faster than one after the other.

use std::path::PathBuf;

use holdall::format::Codec;
use holdall::{BlobOptions, Error, Save};

use crate::store;

/// How much is saved together.
const TOGETHER: usize = 256;
const TOGETHER_BYTES: u64 = 16 << 20;

/// Values for one store, all with one compression.
pub(crate) struct Batch {
    folder: PathBuf,
    codec: Codec,
    saves: Vec<Save>,
    bytes: u64,
}

/// What has become of a value: key, size in bytes, and whether it was saved.
pub(crate) type Placed = (String, u64, Result<(), Unsaved>);

/// Why a value was not saved.
pub(crate) enum Unsaved {
    /// That is its own matter.
    Alone(Error),
    /// No other can be saved either.
    WithAll(Error),
}

impl Batch {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, codec: Codec::None, saves: Vec::new(), bytes: 0 }
    }

    /// Adds a value; where there is no room for it, or its compression is another one, those before
    /// it are saved first.
    pub(crate) fn add(&mut self, save: Save, codec: Codec) -> Vec<Placed> {
        let has_room = self.saves.len() < TOGETHER && self.bytes < TOGETHER_BYTES;
        let placed = match has_room && (codec == self.codec || self.saves.is_empty()) {
            true => Vec::new(),
            false => self.place(),
        };
        self.codec = codec;
        self.bytes += size(&save);
        self.saves.push(save);
        placed
    }

    /// Saves what there is.
    pub(crate) fn place(&mut self) -> Vec<Placed> {
        let saves = std::mem::take(&mut self.saves);
        self.bytes = 0;
        let about: Vec<_> = saves.iter().map(|save| (save.key.clone(), size(save))).collect();
        // A store is opened once in a process, whatever the number of managers.
        let blobs = store::manager(BlobOptions {
            base_path: self.folder.clone(),
            compression: self.codec,
            ..BlobOptions::default()
        });
        let unsaved = |error| match store::keeps_all_out(&error, &self.folder) {
            true => Unsaved::WithAll(error),
            false => Unsaved::Alone(error),
        };
        let saved = blobs.save_many(saves);
        let saved = saved.into_iter().map(|saved| saved.map(drop).map_err(unsaved));
        about.into_iter().zip(saved).map(|((key, size), saved)| (key, size, saved)).collect()
    }
}

fn size(save: &Save) -> u64 {
    save.parts.iter().map(|part| part.bytes().len() as u64).sum()
}
