//! The two uses of the database: a copy of what files know, and the values that lie in it.

/// What a database holds, and how much is lost with it.
#[derive(Debug)]
pub(super) struct Role {
    /// The name of its file.
    pub(super) name: &'static str,
    /// Every object of the schema in the order of their names, word for word as SQLite keeps it.
    pub(super) schema: &'static [(&'static str, &'static str)],
    /// Settings of its own.
    pub(super) settings: &'static str,
    /// It holds the only copy: a damaged row costs that row and nothing else, and what a commit
    /// says must be in order after a power cut.
    pub(super) is_truth: bool,
}

/// The file of the index in the folder of its epoch.
pub(crate) const INDEX_FILE: &str = "index.sqlite";
/// The file of the inline values in their folder.
pub(crate) const VALUES_FILE: &str = "values.sqlite";

/// A copy of every file's record. Nothing of it is flushed, for it can be made again.
pub(super) const INDEX: Role = Role {
    name: INDEX_FILE,
    schema: &[
        (
            "entry",
            "CREATE TABLE entry(key BLOB NOT NULL PRIMARY KEY, expires_at INTEGER, row BLOB NOT NULL) \
             WITHOUT ROWID",
        ),
        (
            "entry_expiry",
            "CREATE INDEX entry_expiry ON entry(expires_at) WHERE expires_at IS NOT NULL",
        ),
        META,
        TAG,
    ],
    settings: "PRAGMA synchronous = OFF; PRAGMA journal_size_limit = 16777216;",
    is_truth: false,
};

/// Inline values with their records. New ones are appended, so that a group of them touches few
/// pages; the log is folded in by [`super::SqliteIndex::checkpoint`], away from those who commit.
/// `NORMAL` flushes log and database in the order that keeps them whole whatever a power cut takes.
pub(super) const VALUES: Role = Role {
    name: VALUES_FILE,
    schema: &[
        (
            "entry",
            "CREATE TABLE entry(id INTEGER PRIMARY KEY, key BLOB NOT NULL, expires_at INTEGER, \
             row BLOB NOT NULL, content BLOB NOT NULL)",
        ),
        (
            "entry_expiry",
            "CREATE INDEX entry_expiry ON entry(expires_at, key) WHERE expires_at IS NOT NULL",
        ),
        ("entry_key", "CREATE UNIQUE INDEX entry_key ON entry(key)"),
        META,
        TAG,
    ],
    settings: "PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0; \
               PRAGMA journal_size_limit = 16777216;",
    is_truth: true,
};

const META: (&str, &str) =
    ("meta", "CREATE TABLE meta(id INTEGER PRIMARY KEY, value BLOB NOT NULL)");
const TAG: (&str, &str) = (
    "tag",
    "CREATE TABLE tag(tag BLOB NOT NULL, key BLOB NOT NULL, PRIMARY KEY(tag, key)) WITHOUT ROWID",
);
