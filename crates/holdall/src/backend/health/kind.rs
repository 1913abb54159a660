//! The kinds of damage. Their names are part of the interface: `docs/repair.md` has them all.

use crate::error::{Error, ErrorKind};

/// What a repair does about a kind of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cure {
    /// What is damaged is taken out of the store and kept aside.
    Quarantine,
    /// It is set right in its place.
    Mend,
    /// It is removed: nobody needs it.
    Sweep,
    /// The index is made anew from the files.
    Rebuild,
    /// Somebody has to decide.
    Keep,
    /// It is no damage.
    Nothing,
}

macro_rules! kinds {
    ($($variant:ident = $name:literal, $cure:ident, $about:literal, $remedy:literal;)*) => {
        /// A kind of damage, or of something else that is worth knowing.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ProblemKind { $(#[doc = $about] $variant,)* }

        impl ProblemKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name, which stays the same in every release: `content_damaged`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it means, a sentence.
            #[must_use]
            pub const fn about(self) -> &'static str {
                match self { $(Self::$variant => $about,)* }
            }

            /// What to do, a clause in the imperative.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy,)* }
            }

            pub(crate) const fn cure(self) -> Cure {
                match self { $(Self::$variant => Cure::$cure,)* }
            }
        }
    };
}

kinds! {
    ContentDamaged = "content_damaged", Quarantine,
        "The content is not what was saved.",
        "run repair, then restore the value from a backup or save it anew";
    ContentTruncated = "content_truncated", Quarantine,
        "The content ends before the saved one did.",
        "run repair, then restore the value from a backup or save it anew";
    CompressionDamaged = "compression_damaged", Quarantine,
        "The content is what was saved, but cannot be unpacked.",
        "run repair, then restore the value from a backup or save it anew";
    SignatureWrong = "signature_wrong", Quarantine,
        "The signature is not of this content under this key, format and store.",
        "run repair, and find out who can write into the store";
    SignatureMissing = "signature_missing", Keep,
        "A value of a format that may run code has no signature.",
        "if you know who wrote it, load it with trust=\"any\" and save it anew; else delete it";
    SignatureUnknownKey = "signature_unknown_key", Keep,
        "The value was signed with a key that is not among the known ones.",
        "bring the key back (HOLDALL_SIGNING_KEY, signing.key), or save or delete the value";
    StampDamaged = "stamp_damaged", Quarantine,
        "The record that travels with the file cannot be read.",
        "run repair: it takes the record from the index, or the file into quarantine";
    StampMissing = "stamp_missing", Mend,
        "The file has lost its record, and is still the one that the index knows.",
        "run repair: it takes the record from the index";
    StampNewer = "stamp_newer", Keep,
        "The record is one of a later release.",
        "use that release";
    Outdated = "outdated_file", Rebuild,
        "An older file of a key whose writer died before it removed it.",
        "run repair: the newer file is the value";
    InTwoPlaces = "in_two_places", Rebuild,
        "A key has a file and an inline value: a writer died before it removed the older one.",
        "run repair: the newer one is the value";
    Conflict = "conflict", Keep,
        "Several files of other programs claim one key.",
        "remove all but one of them, or save the key anew";
    Blocked = "blocked_key", Keep,
        "Something that is no file has the name of a value.",
        "remove it, or use another key";
    Unreadable = "unreadable", Keep,
        "The system refuses to read it.",
        "look for errors of the disk in the system's log, and for who owns the file";
    RowMissing = "index_row_missing", Rebuild,
        "The index does not list a file of this store.",
        "run repair: the index is made anew from the files";
    RowWithoutFile = "index_row_without_file", Rebuild,
        "The index lists a key that has no file: somebody removed it by hand.",
        "run repair, or load the key: then it is forgotten";
    RowDiffers = "index_row_differs", Rebuild,
        "The index says something else of a value than the record that travels with its file.",
        "run repair: the index is made anew from the files";
    RowDamaged = "index_row_damaged", Rebuild,
        "A row of the index cannot be read.",
        "run repair: the index is made anew from the files";
    IndexDamaged = "index_damaged", Rebuild,
        "The database of the index is damaged.",
        "run repair: the index is made anew from the files";
    CountersWrong = "counters_wrong", Mend,
        "Number or size of all values is not what the counters say.",
        "run repair: they are counted anew";
    InlineRecordDamaged = "inline_record_damaged", Quarantine,
        "The record of an inline value cannot be read.",
        "run repair, then save the value anew";
    InlineDamaged = "inline_database_damaged", Quarantine,
        "The database of the inline values is damaged.",
        "run repair: what can be read of it goes into a new one";
    InlineMissing = "inline_database_missing", Quarantine,
        "The database of the inline values is gone, and all of them with it.",
        "restore .holdall/inline from a backup; run repair only if there is none: it begins an empty one";
    Leftover = "leftover", Sweep,
        "Something that a dead writer has left.",
        "run repair; much of it goes at the next opening, too";
    KeyRecordMissing = "key_record_missing", Mend,
        "The text of a key that is too long for a name and a stamp is lost.",
        "run repair: it takes the text from the index; else load the key and save it anew";
    Permissions = "permissions", Mend,
        "Others than its owner may use a file or folder of the store.",
        "run repair: files get 0600, the store's own folders 0700";
    Owner = "owner", Mend,
        "A file or folder of the store belongs to another user than the store.",
        "run repair as root, or change the owner (chown)";
    ClockBehind = "clock_behind", Mend,
        "The clock file has forgotten generations that were given.",
        "run repair: it counts on from the highest one";
    ClockReplaced = "clock_replaced", Keep,
        "The clock or lock file that this process uses is not the one of the store any more.",
        "end every process that uses the store, then open it again";
    SignerDamaged = "signer_damaged", Quarantine,
        "The note of who signs in this store cannot be read.",
        "run repair: the next signature notes it anew";
    SignerUnknown = "signer_unknown", Keep,
        "The store is signed with a key that is not here.",
        "bring the key back (HOLDALL_SIGNING_KEY, signing.key)";
    StoreFileDamaged = "store_file_damaged", Keep,
        "store.json cannot be understood, so that the store cannot be opened.",
        "restore it from a backup; without it the store would get another id, under which files are \
         foreign (without tags and TTL) and no signature holds";
    StampOfAnotherKey = "stamp_of_another_key", Nothing,
        "The file was copied or renamed together with its record; it is read as a foreign one.",
        "save the key anew, if the value is to be the store's own";
    StampOfAnotherStore = "stamp_of_another_store", Nothing,
        "A value was saved in another store, or before store.json was lost: a file is read as a \
         foreign one, an inline value as ever, its signature does not hold.",
        "bring back the lost store.json, or save the key anew, if it is to be the store's own";
    CaseCollision = "case_collision", Nothing,
        "Two names differ in case only: no file system that ignores case can hold both.",
        "leave it, unless the store is to be copied to one";
    IndexBehind = "index_behind", Nothing,
        "The index is filled anew before it is next asked, so its rows were not compared.",
        "leave it, or run repair";
    DeadWriter = "dead_writer", Nothing,
        "A writer died in the middle of its work, which the next one ends.",
        "leave it, or run repair";
    ClockRemade = "clock_remade", Nothing,
        "The clock file was damaged and was made anew when the store was opened.",
        "leave it";
    InlineUnread = "inline_unread", Nothing,
        "The inline values were not read: their database cannot be used here.",
        "verify where the store can be written";
    SignaturesUnchecked = "signatures_unchecked", Nothing,
        "Signatures were not checked: no signing key can be had.",
        "set HOLDALL_SIGNING_KEY, or see to signing.key";
}

impl ProblemKind {
    /// Whether it is no damage.
    #[must_use]
    pub const fn is_notice(self) -> bool {
        matches!(self.cure(), Cure::Nothing)
    }

    /// The kind of damage that an error of a load tells of.
    pub(crate) fn of(error: &Error) -> Option<Self> {
        match error.kind() {
            ErrorKind::Corrupt => Some(Self::ContentDamaged),
            ErrorKind::Conflict => Some(Self::Conflict),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_say_what_to_do() {
        let mut names: Vec<_> = ProblemKind::ALL.iter().map(|kind| kind.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ProblemKind::ALL.len());
        for kind in ProblemKind::ALL {
            assert!(kind.about().ends_with('.') && !kind.remedy().ends_with('.'), "{kind:?}");
        }
    }
}
