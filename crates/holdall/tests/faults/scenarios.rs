//! What is done while the disk fails.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use holdall::format::Codec;
use holdall::{
    BlobManager, BlobOptions, Durability, ErrorKind, Format, Result, Save, SaveOptions, Ttl,
};

use super::openings;
use super::store::{Value, Values, manager, options, payload, save, value};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    Saves,
    Inline,
    Removals,
    Reads,
    Openings,
}

/// What became of each key that was touched.
pub(crate) type Done = Vec<(&'static str, Result<()>)>;

/// One call, the store that it finds, and what it leaves.
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) group: Group,
    /// The manager keeps small values inline, and the store has some.
    pub(crate) inline: bool,
    pub(crate) options: BlobOptions,
    /// The store is open when the faults begin.
    pub(crate) is_open: bool,
    /// Nothing stands beside what the call touches.
    pub(crate) is_alone: bool,
    /// It removes what stands beside, too.
    pub(crate) clears: bool,
    /// A failure may come when a part is done, which then stays.
    pub(crate) is_in_steps: bool,
    /// The keys that the call touches, as they were before and are after it.
    pub(crate) before: Vec<(&'static str, Value)>,
    pub(crate) after: Vec<(&'static str, Value)>,
    /// What else is done to the folder before.
    pub(crate) prepare: fn(&Path, &Self),
    pub(crate) act: fn(&BlobManager) -> Done,
}

impl Scenario {
    fn new(group: Group, name: &str, act: fn(&BlobManager) -> Done) -> Self {
        Self {
            name: name.to_owned(),
            group,
            inline: false,
            options: options(Path::new("")),
            is_open: true,
            is_alone: false,
            clears: false,
            is_in_steps: false,
            before: Vec::new(),
            after: Vec::new(),
            prepare: |_, _| (),
            act,
        }
    }

    fn before(mut self, key: &'static str, value: Value) -> Self {
        self.before.push((key, value));
        self
    }

    fn after(mut self, key: &'static str, value: Value) -> Self {
        self.after.push((key, value));
        self
    }

    fn inline(mut self) -> Self {
        self.inline = true;
        self
    }

    /// Once for each durability.
    fn both(self, list: &mut Vec<Self>) {
        for durability in [Durability::Process, Durability::Disk] {
            let name = format!("{}-{durability:?}", self.name).to_lowercase();
            let options = BlobOptions { durability, ..self.options.clone() };
            let Self { before, after, .. } = &self;
            let (before, after) = (before.clone(), after.clone());
            list.push(Self { name, options, before, after, ..self });
        }
    }

    /// Every key that the call touches, with what is allowed after a failure and what is due after
    /// success.
    pub(crate) fn touched(&self) -> Vec<&'static str> {
        let mut keys: Vec<_> = self.before.iter().chain(&self.after).map(|(key, _)| *key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

/// The values of a list, by key.
pub(crate) fn values(list: &[(&'static str, Value)]) -> Values {
    list.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
}

fn saves(store: &BlobManager, key: &'static str, value: Value) -> Done {
    vec![(key, save(store, key, &value, None))]
}

/// A read has to give what is there, or an error.
fn reads(key: &'static str, found: Result<Vec<u8>>, wanted: &[u8]) -> Done {
    let read = found.map(|found| assert!(found == wanted, "{key} was read wrongly"));
    vec![(key, read)]
}

fn old() -> Value {
    value(Format::Json, "old", 700)
}

fn new() -> Value {
    value(Format::Json, "new", 900)
}

fn text() -> Value {
    value(Format::String, "text", 800)
}

fn small() -> Value {
    value(Format::Json, "small", 100)
}

fn small_text() -> Value {
    value(Format::String, "tiny", 90)
}

fn large() -> Value {
    value(Format::Bytes, "large", 3 << 20)
}

/// One that fits neither a name nor a stamp.
fn long_key() -> &'static str {
    static KEY: OnceLock<String> = OnceLock::new();
    KEY.get_or_init(|| format!("long/{}", "x".repeat(1_200)))
}

fn stream(store: &BlobManager, key: &'static str, value: &Value) -> Done {
    let options = SaveOptions { tags: vec!["all".into()], ..SaveOptions::default() };
    let written = store.writer(key, value.format, options).and_then(|mut writer| {
        let mut failed = None;
        for piece in value.payload.chunks(100_000) {
            if let Err(error) = writer.append(piece) {
                failed = Some(error);
                break;
            }
        }
        // After an error the value cannot be finished.
        match (failed, writer.finish()) {
            (None, finished) => finished.map(drop),
            (Some(error), Err(_)) => Err(error),
            (Some(error), Ok(_)) => panic!("finished after {error}"),
        }
    });
    vec![(key, written)]
}

fn many() -> Vec<(&'static str, Value)> {
    vec![
        ("many/1", value(Format::Json, "one", 600)),
        ("k", text()),
        ("many/2", value(Format::Bytes, "two", 50)),
        ("many/x/3", value(Format::String, "three", 2_000)),
        ("many/4", value(Format::Json, "four", 70)),
    ]
}

fn save_many(store: &BlobManager) -> Done {
    let batch = many().into_iter().map(|(key, value)| Save {
        key: key.into(),
        format: value.format,
        parts: vec![value.payload.into()],
        options: SaveOptions { tags: vec!["all".into()], ..SaveOptions::default() },
    });
    let saved = store.save_many(batch.collect());
    many().into_iter().zip(saved).map(|((key, _), saved)| (key, saved.map(drop))).collect()
}

fn delete(store: &BlobManager, key: &'static str) -> Done {
    vec![(key, store.delete(key, None).map(|was_there| assert!(was_there, "it was there")))]
}

fn rename(store: &BlobManager) -> Done {
    match store.rename("k", "folder/target", false) {
        Ok(_) => vec![("k", Ok(())), ("folder/target", Ok(()))],
        Err(error) => {
            let again = holdall::Error::new(ErrorKind::Io, error.cause().to_owned());
            let again = again.during("rename").on_key("k").remedy("see the other");
            vec![("k", Err(error)), ("folder/target", Err(again))]
        }
    }
}

/// All scenarios.
pub(crate) fn all() -> Vec<Scenario> {
    let mut list = Vec::new();
    let of = |group, name: &str, act: fn(&BlobManager) -> Done| Scenario::new(group, name, act);
    saves_of(&mut list, of);
    inline_of(&mut list, of);
    removals_of(&mut list, of);
    reads_of(&mut list, of);
    openings::add(&mut list);
    list
}

type Make = fn(Group, &str, fn(&BlobManager) -> Done) -> Scenario;

fn saves_of(list: &mut Vec<Scenario>, of: Make) {
    use Group::Saves;
    of(Saves, "new", |store| saves(store, "a/b/k", new())).after("a/b/k", new()).both(list);
    of(Saves, "overwrite", |store| saves(store, "k", new()))
        .before("k", old())
        .after("k", new())
        .both(list);
    of(Saves, "change-format", |store| saves(store, "k", text()))
        .before("k", old())
        .after("k", text())
        .both(list);
    of(Saves, "large", |store| saves(store, "k", large()))
        .before("k", old())
        .after("k", large())
        .both(list);
    let pickle = || value(Format::Pickle, "pickle", 700);
    let pickled = |store: &BlobManager| saves(store, "k", value(Format::Pickle, "pickle", 700));
    of(Saves, "pickle", pickled).before("k", old()).after("k", pickle()).both(list);
    let pickled = |store: &BlobManager| saves(store, "k", value(Format::Pickle, "large", 3 << 20));
    let pickle = value(Format::Pickle, "large", 3 << 20);
    of(Saves, "large-pickle", pickled).after("k", pickle).both(list);
    let mut packed = of(Saves, "compressed", |store| saves(store, "k", new()));
    packed.options.compression = Codec::Zstd;
    packed.before("k", old()).after("k", new()).both(list);
    of(Saves, "stream", |store| stream(store, "k", &large()))
        .before("k", old())
        .after("k", large())
        .both(list);
    of(Saves, "many", save_many).before("k", old()).after_all(many()).both(list);
    of(Saves, "long-key", |store| saves(store, long_key(), new()))
        .after(long_key(), new())
        .both(list);
    of(Saves, "copy", |store| {
        vec![("folder/target", store.copy("k", "folder/target", false).map(drop))]
    })
    .before("k", old())
    .after("k", old())
    .after("folder/target", old())
    .both(list);
}

fn inline_of(list: &mut Vec<Scenario>, of: Make) {
    use Group::Inline;
    of(Inline, "inline-new", |store| saves(store, "k", small()))
        .inline()
        .after("k", small())
        .both(list);
    of(Inline, "inline-overwrite", |store| saves(store, "k", small_text()))
        .inline()
        .before("k", small())
        .after("k", small_text())
        .both(list);
    of(Inline, "file-to-inline", |store| saves(store, "k", small()))
        .inline()
        .before("k", old())
        .after("k", small())
        .both(list);
    of(Inline, "inline-to-file", |store| saves(store, "k", text()))
        .inline()
        .before("k", small())
        .after("k", text())
        .both(list);
    of(Inline, "inline-many", save_many)
        .inline()
        .before("k", small())
        .before("many/4", old())
        .after_all(many())
        .both(list);
    of(Inline, "inline-stream", |store| stream(store, "k", &small_text()))
        .inline()
        .before("k", old())
        .after("k", small_text())
        .both(list);
    of(Inline, "inline-touch", |store| {
        vec![("k", store.touch("k", Ttl::After(Duration::from_secs(9_000))).map(drop))]
    })
    .inline()
    .before("k", small())
    .after("k", small())
    .both(list);
}

fn removals_of(list: &mut Vec<Scenario>, of: Make) {
    use Group::Removals;
    of(Removals, "delete", |store| delete(store, "a/b/k")).before("a/b/k", old()).both(list);
    of(Removals, "inline-delete", |store| delete(store, "k"))
        .inline()
        .before("k", small())
        .both(list);
    of(Removals, "delete-many", |store| {
        let keys = ["k", "a/b/k", "small"];
        keys.into_iter().zip(store.delete_many(&keys)).map(|(k, r)| (k, r.map(drop))).collect()
    })
    .inline()
    .before("k", old())
    .before("a/b/k", text())
    .before("small", small())
    .both(list);
    of(Removals, "rename", rename)
        .before("k", old())
        .after("folder/target", old())
        .in_steps()
        .both(list);
    of(Removals, "inline-rename", rename)
        .inline()
        .before("k", small())
        .after("folder/target", small())
        .in_steps()
        .both(list);
    of(Removals, "touch", |store| {
        vec![("k", store.touch("k", Ttl::After(Duration::from_secs(9_000))).map(drop))]
    })
    .before("k", old())
    .after("k", old())
    .both(list);
    of(Removals, "clear", |store| {
        let cleared = store.clear();
        let failed = || cleared.as_ref().map(drop).map_err(|error| again(error, "k"));
        ["a/b/k", "k", "small"].map(|key| (key, failed())).into()
    })
    .inline()
    .before("k", old())
    .before("a/b/k", text())
    .before("small", small())
    .clearing()
    .both(list);
}

fn again(error: &holdall::Error, key: &str) -> holdall::Error {
    let cause = error.to_string();
    holdall::Error::new(error.kind(), cause).during("clear").on_key(key).remedy("see above")
}

fn reads_of(list: &mut Vec<Scenario>, of: Make) {
    use Group::Reads;
    let loads = |store: &BlobManager| {
        reads("k", store.load_bytes("k", None).map(|blob| blob.payload), &old().payload)
    };
    list.push(of(Reads, "load", loads).before("k", old()).after("k", old()));
    list.push(
        of(Reads, "load-inline", |store| {
            reads("k", store.load_bytes("k", None).map(|blob| blob.payload), &small().payload)
        })
        .inline()
        .before("k", small())
        .after("k", small()),
    );
    list.push(
        of(Reads, "load-large", |store| {
            reads("k", store.load_bytes("k", None).map(|blob| blob.payload), &large().payload)
        })
        .before("k", large())
        .after("k", large()),
    );
    list.push(
        of(Reads, "load-cached", |store| {
            // Or it has to be read in the ordinary way.
            if let Some(blob) = store.load_cached("k", None) {
                assert_eq!(blob.payload, old().payload);
            }
            Vec::new()
        })
        .before("k", old())
        .after("k", old()),
    );
    list.push(
        of(Reads, "look", |store| {
            let there = store.exists("k").map(|found| assert!(found, "it is there"));
            let size = store.metadata("k").map(|found| assert_eq!(found.size, 700));
            vec![("k", there), ("k", size)]
        })
        .before("k", old())
        .after("k", old()),
    );
    list.push(
        of(Reads, "list", |store| {
            let keys: Result<Vec<String>> = store.keys("").collect();
            let listed = ["beside", "folder/beside", "inline/beside", "k"];
            let keys = keys.map(|keys| assert_eq!(keys, listed));
            let stats = store.get_stats().map(|stats| assert_eq!(stats.entries, 4));
            let tagged = store.tagged("all", None, 10).map(|found| assert_eq!(found.len(), 4));
            [keys, stats, tagged].into_iter().map(|one| ("k", keyed(one))).collect()
        })
        .inline()
        .before("k", small())
        .after("k", small()),
    );
    list.push(
        of(Reads, "stream-and-range", |store| {
            let read = store.reader("k").and_then(|mut reader| {
                let mut all = Vec::new();
                while let piece @ [_, ..] = &reader.read_up_to(1 << 20)?[..] {
                    all.extend_from_slice(piece);
                }
                Ok(all)
            });
            let mut done = reads("k", read, &large().payload);
            let range = store.read_range("k", 1_000_000, 9);
            done.extend(reads("k", range, &payload("large", 3 << 20)[1_000_000..1_000_009]));
            done
        })
        .before("k", large())
        .after("k", large()),
    );
}

/// Listings are about no key.
pub(crate) fn keyed(result: Result<()>) -> Result<()> {
    result.map_err(|error| error.on_key("k"))
}

impl Scenario {
    fn after_all(mut self, values: Vec<(&'static str, Value)>) -> Self {
        self.after = values;
        self
    }

    /// The neighbours go too.
    fn clearing(self) -> Self {
        Self { clears: true, is_in_steps: true, ..self }
    }

    /// Some of it may be done when it fails.
    fn in_steps(self) -> Self {
        Self { is_in_steps: true, ..self }
    }

    pub(crate) fn alone(self) -> Self {
        Self { is_alone: true, ..self }
    }

    pub(crate) fn manager(&self, folder: &Path) -> BlobManager {
        manager(folder, self.inline, self.options.clone())
    }

    pub(crate) fn opening(
        name: &str,
        prepare: fn(&Path, &Self),
        act: fn(&BlobManager) -> Done,
    ) -> Self {
        let new = Self::new(Group::Openings, name, act);
        Self { prepare, is_open: false, ..new }
    }

    pub(crate) fn with(
        self,
        inline: bool,
        kept: &[(&'static str, Value)],
        new: &[(&'static str, Value)],
    ) -> Self {
        let after = kept.iter().chain(new).cloned().collect();
        Self { inline, before: kept.to_vec(), after, ..self }
    }
}
