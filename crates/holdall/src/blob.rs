//! `BlobManager`: values on a backend, with formats, lifetimes and signatures.

mod cached;
mod cleaner;
mod cleaning;
mod group;
mod health;
mod large;
mod limits;
mod listing;
mod look;
mod metadata;
mod migration;
mod moving;
mod oldest;
mod options;
mod pace;
mod packed;
mod removal;
mod rotation;
mod signed;
mod stream;
mod typed;
mod watch;

use std::sync::Arc;

pub use cleaner::stop_cleaning;
pub use health::Verification;
pub use large::Loaded;
pub use limits::{Eviction, Limits};
pub use metadata::{Blob, BlobMetadata};
pub use migration::{Migrate, Migration, MigrationReport};
pub use options::{BlobOptions, OnCorrupt, Save, SaveOptions, Trust};
pub use rotation::{KeyRotation, Rotation};
pub use stream::{BlobReader, BlobWriter};

use self::cleaning::Cleaning;
use self::group::Group;
use self::signed::Signer;
use self::watch::{Operation, Watch};
use crate::backend::{Backend, Durability, Object, Part, Placed, Put, Totals};
use crate::blocks::LONG;
use crate::cancel;
use crate::clock::Ttl;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Codec, Format, decompress, plausible};
use crate::key::Key;
use crate::record::{Record, check_annotations};
use crate::stats::BlobStats;

/// Keeps values under text keys.
///
/// A manager is cheap to clone; clones share everything. Its calls block on the disk: an
/// asynchronous program moves them to [`crate::pool`]. They are safe from several threads, and
/// several processes may use one directory at once.
///
/// ```
/// use holdall::{BlobManager, Format};
///
/// # let folder = tempfile::tempdir()?;
/// let store = BlobManager::new(folder.path());
/// store.save("users/42", &vec!["Ann", "Bo"], Format::Json)?;
/// let names: Vec<String> = store.load("users/42")?;
/// assert_eq!(names, ["Ann", "Bo"]);
/// assert_eq!(std::fs::read_to_string(folder.path().join("users/42.json"))?, r#"["Ann","Bo"]"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct BlobManager {
    backend: Arc<dyn Backend>,
    options: Arc<BlobOptions>,
    signer: Arc<Signer>,
    group: Arc<Group>,
    watch: Arc<Watch>,
    cleaning: Arc<Cleaning>,
}

impl BlobManager {
    /// A store of plain files below `base_path`, which is made by the first call if missing.
    #[must_use]
    pub fn new(base_path: impl Into<std::path::PathBuf>) -> Self {
        Self::with_options(BlobOptions { base_path: base_path.into(), ..BlobOptions::default() })
    }

    /// A store of plain files. Touches nothing yet.
    #[must_use]
    pub fn with_options(options: BlobOptions) -> Self {
        let backend = Arc::new(options.file_backend());
        Self::on(backend, options)
    }

    /// A store on any backend.
    #[must_use]
    pub fn on(backend: Arc<dyn Backend>, options: BlobOptions) -> Self {
        let signer = Arc::new(Signer::new(options.signing_key.clone()));
        let cleaning = Arc::new(Cleaning::new(&backend, &options));
        Self {
            backend,
            options: Arc::new(options),
            signer,
            group: Arc::default(),
            watch: Arc::default(),
            cleaning,
        }
    }

    /// The backend below.
    #[must_use]
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// Saves bytes that are already in `format`: the file will hold these parts one after the
    /// other, and for signed formats a signature behind them.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKey`], [`ErrorKind::InvalidArgument`] before anything is touched;
    /// [`ErrorKind::Conflict`] if the condition does not hold; [`ErrorKind::Io`],
    /// [`ErrorKind::Busy`]. After an error the old value stands, unless it says that the new one is
    /// in place: then only the last flush of a durable save has failed.
    pub fn save_parts(
        &self,
        key: &str,
        format: Format,
        parts: Vec<Part>,
        options: SaveOptions,
    ) -> Result<BlobMetadata> {
        let save = Save { key: key.to_owned(), format, parts, options };
        let place = || {
            let put = self.prepare(save)?;
            let key = put.key.clone();
            let placed = if put.format.is_signed() {
                self.put_signed(vec![put]).pop().unwrap_or_else(|| Err(unanswered()))?
            } else {
                let placed = self.backend.put(put)?;
                self.cleaning.saved(&placed.record);
                placed
            };
            Ok(BlobMetadata::placed(key, placed))
        };
        named(self.watched(Operation::Save, Some(key), |saved| saved.size, place), "save", key)
    }

    /// Saves several values, each for itself, at the cost of one commit.
    pub fn save_many(&self, saves: Vec<Save>) -> Vec<Result<BlobMetadata>> {
        let mut results = Vec::with_capacity(saves.len());
        let mut puts = Vec::with_capacity(saves.len());
        for save in saves {
            let key = save.key.clone();
            match self.prepare(save) {
                Ok(put) => {
                    puts.push(put);
                    results.push(None);
                }
                Err(error) => results.push(Some(Err(error.on_key(&key).during("save")))),
            }
        }
        let keys: Vec<Key> = puts.iter().map(|put| put.key.clone()).collect();
        let begun = self.begin(Operation::Save);
        let placed = self.put_signed(puts);
        self.end_batch(begun, &placed, |placed| placed.record.length);
        let mut placed = keys.into_iter().zip(placed);
        let next = |placed: &mut dyn Iterator<Item = (Key, Result<Placed>)>| match placed.next() {
            Some((key, placed)) => {
                let text = key.as_str().to_owned();
                named(placed.map(|placed| BlobMetadata::placed(key, placed)), "save", &text)
            }
            None => Err(unanswered()),
        };
        results.into_iter().map(|result| result.unwrap_or_else(|| next(&mut placed))).collect()
    }

    fn prepare(&self, save: Save) -> Result<Put> {
        let Save { key, format, mut parts, options } = save;
        let key = Key::new(&key)?;
        check_annotations(&options.tags, options.metadata.as_deref())?;
        if options.ttl == Ttl::After(std::time::Duration::ZERO) {
            return Err(Error::new(ErrorKind::InvalidArgument, "the TTL is zero")
                .remedy("pass a positive number of seconds, or none for ever"));
        }
        let size: u64 = parts.iter().map(|part| part.bytes().len() as u64).sum();
        self.check_size(size)?;
        let codec = self.compressed(options.compression, &mut parts, size)?;
        let (mut signature, mut seal) = (None, None);
        if format.is_signed() {
            if codec == Codec::None && size >= LONG && self.backend.signs_while_writing() {
                seal = Some(self.signer.seal(&*self.backend, &key, format)?);
            } else {
                let kind = (format, codec);
                signature = Some(self.signer.sign(&*self.backend, &key, kind, &mut parts)?);
            }
        }
        Ok(Put {
            key,
            format,
            codec,
            parts,
            signature,
            seal,
            ttl: options.ttl.millis(None),
            tags: options.tags,
            metadata: options.metadata,
            created: options.created,
            condition: options.condition,
            continues: None,
            stays_inline: options.stays_inline,
            durability: options.durability.unwrap_or(self.options.durability),
            token: cancel::current(),
        })
    }

    fn check_size(&self, size: u64) -> Result<()> {
        let limit = self.options.max_value_bytes;
        if size <= limit {
            return Ok(());
        }
        let cause = format!("the value has {size} bytes, max_value_bytes allows {limit}");
        Err(Error::new(ErrorKind::InvalidArgument, cause)
            .remedy("raise max_value_bytes or split the value"))
    }

    /// Loads the bytes of a value, checked, and for signed formats verified and without their
    /// signature. With `format` only a value of that format will do.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::WrongFormat`]; [`ErrorKind::Untrusted`] if a
    /// signature is missing or wrong; [`ErrorKind::Corrupt`] if the file was damaged, unless the
    /// manager was told to take that for a miss; [`ErrorKind::Io`].
    pub fn load_bytes(&self, key: &str, format: Option<Format>) -> Result<Blob> {
        self.try_load_bytes(key, format)?.ok_or_else(|| Self::no_value(key))
    }

    /// As [`BlobManager::load_bytes`], with `None` for a missing key.
    ///
    /// # Errors
    /// As there, but [`ErrorKind::NotFound`].
    pub fn try_load_bytes(&self, key: &str, format: Option<Format>) -> Result<Option<Blob>> {
        self.load_trusting(self.options.trust, key, format)
    }

    /// As [`BlobManager::try_load_bytes`], of several values; counted as one call.
    #[must_use]
    pub fn load_bytes_many(
        &self,
        keys: &[String],
        format: Option<Format>,
    ) -> Vec<Result<Option<Blob>>> {
        let begun = self.begin(Operation::Load);
        let trust = self.options.trust;
        let loaded: Vec<_> =
            keys.iter().map(|key| self.load_uncounted(trust, key, format)).collect();
        self.end_batch(begun, &loaded, length);
        let tell = |(key, one): (&String, _)| self.tolerated(named(one, "load", key));
        keys.iter().zip(loaded).map(tell).collect()
    }

    /// What a load of a key says where there is no value.
    #[must_use]
    pub fn no_value(key: &str) -> Error {
        let absent = nothing().remedy("save one first, or pass a default");
        absent.on_key(key).during("load")
    }

    fn load_trusting(
        &self,
        trust: Trust,
        key: &str,
        format: Option<Format>,
    ) -> Result<Option<Blob>> {
        let load = || self.load_uncounted(trust, key, format);
        let loaded = self.watched(Operation::Load, Some(key), length, load);
        self.tolerated(named(loaded, "load", key))
    }

    fn load_uncounted(
        &self,
        trust: Trust,
        key: &str,
        format: Option<Format>,
    ) -> Result<Option<Blob>> {
        let key = Key::new(key)?;
        let Some(object) = self.backend.get(&key, format)? else { return Ok(None) };
        self.unsealed(trust, key, format, object).map(Some)
    }

    /// The payload of a file that was read, if it is of the format and may be trusted.
    fn unsealed(
        &self,
        trust: Trust,
        key: Key,
        format: Option<Format>,
        object: Object,
    ) -> Result<Blob> {
        let record = &object.record;
        self.cleaning.loaded(&key, record);
        if let Some(wanted) = format
            && !fits(wanted, record)
        {
            return Err(wrong_format(wanted, record));
        }
        // A file of another program may be any of the formats that share its suffix.
        let actual = format.unwrap_or(record.format);
        let mut payload = object.content;
        if actual.is_signed() {
            self.signer.open(trust, &*self.backend, &key, actual, record, &mut payload)?;
        }
        let mut limit = self.options.max_value_bytes;
        if record.foreign {
            limit = limit.min(plausible(payload.len() as u64));
        }
        let payload = decompress(record.codec, payload, limit)?;
        let record = Record { format: actual, ..object.record };
        Ok(Blob { payload, metadata: BlobMetadata::new(key, record) })
    }

    /// What was loaded; damage is a miss if the manager was told so.
    fn tolerated<T>(&self, loaded: Result<Option<T>>) -> Result<Option<T>> {
        match loaded {
            Err(error)
                if error.kind() == ErrorKind::Corrupt
                    && self.options.on_corrupt == OnCorrupt::Miss =>
            {
                tracing::warn!("taken for a miss: {error}");
                Ok(None)
            }
            other => other,
        }
    }

    /// How much there is; takes the same time whatever the number of values.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub fn get_stats(&self) -> Result<BlobStats> {
        let totals = self.backend.totals().map_err(|error| error.during("read the statistics"))?;
        let folder = self.backend.folder().map(std::path::Path::to_path_buf);
        let operations = self.watch.stats();
        let (evictions, expirations) = self.cleaning.removed();
        let Totals { entries, total_size } = totals;
        Ok(BlobStats { entries, total_size, evictions, expirations, folder, operations })
    }

    /// Ends what goes on in the background, and writes down what is needed for a fast start. The
    /// manager may be used again.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub fn close(&self) -> Result<()> {
        self.cleaning.end();
        self.backend.close().map_err(|error| error.during("close the store"))
    }

    /// The default durability of this manager.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.options.durability
    }
}

fn named<T>(result: Result<T>, operation: &'static str, key: &str) -> Result<T> {
    result.map_err(|error| error.on_key(key).during(operation))
}

pub(crate) fn missing() -> Error {
    nothing().remedy("save one first")
}

fn nothing() -> Error {
    Error::new(ErrorKind::NotFound, "there is no value under this key")
}

/// Whether a value may be read as `wanted`: it is that format, or a file of another program with
/// the suffix of it.
fn fits(wanted: Format, record: &Record) -> bool {
    record.format == wanted || (record.foreign && record.format.suffix() == wanted.suffix())
}

fn wrong_format(wanted: Format, record: &Record) -> Error {
    let actual = record.format.name();
    Error::new(
        ErrorKind::WrongFormat,
        format!("the value is stored as {actual}, not as {}", wanted.name()),
    )
    .remedy(format!("load it with format=\"{actual}\" or without a format"))
}

fn unanswered() -> Error {
    Error::new(ErrorKind::Io, "the backend has not answered for this value")
}

/// Bytes of what was found.
fn length(found: &Option<Blob>) -> u64 {
    found.as_ref().map_or(0, |blob| blob.payload.len() as u64)
}
