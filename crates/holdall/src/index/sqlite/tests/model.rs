//! Whatever is done to it, the index answers as a sorted map would.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::super::Kept;
use super::super::*;
use super::new_index;

#[derive(Debug, Clone)]
enum Step {
    Apply(Vec<Change>),
    Page { prefix: String, after: Option<String>, limit: usize },
    Expired { now: u64, limit: usize },
    Tagged { tag: String, after: Option<String>, limit: usize },
    Close,
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ab/]{1,3}",
        1 => "[aé\u{10ffff}\u{1}%_*]{1,3}",
    ]
}

fn time() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0..20_u64, 1 => (i64::MAX as u64 - 1)..=(i64::MAX as u64 + 2), 1 => Just(u64::MAX)]
}

fn change() -> impl Strategy<Value = Change> {
    let tags = prop::collection::vec("[xyz]", 0..3);
    let put = (key(), 0..5_u64, any::<u16>(), prop::option::of(time()), any::<bool>(), tags);
    let put = put.prop_map(|(key, generation, size, expires_at, foreign, tags)| {
        let record = vec![7; usize::from(size % 100)];
        let (size, format) = (u64::from(size), "json".into());
        Change::Put(Row { key, generation, size, expires_at, format, foreign, tags, record })
    });
    let remove = (key(), prop::option::of(0..5_u64))
        .prop_map(|(key, generation)| Change::Remove { key, generation });
    prop_oneof![3 => put, 1 => remove]
}

fn step() -> impl Strategy<Value = Step> {
    let after = || prop::option::of(key());
    prop_oneof![
        6 => prop::collection::vec(change(), 0..6).prop_map(Step::Apply),
        3 => ("[ab/é]{0,2}", after(), 0..5_usize)
            .prop_map(|(prefix, after, limit)| Step::Page { prefix, after, limit }),
        2 => (time(), 0..5_usize).prop_map(|(now, limit)| Step::Expired { now, limit }),
        2 => ("[xyz]", after(), 0..5_usize)
            .prop_map(|(tag, after, limit)| Step::Tagged { tag, after, limit }),
        1 => Just(Step::Close),
    ]
}

#[derive(Default)]
struct Model(BTreeMap<String, Row>);

impl Model {
    fn apply(&mut self, change: &Change) {
        let generation_of = |model: &Self, key| model.0.get(key).map(|row: &Row| row.generation);
        match change {
            Change::Put(row) => {
                if generation_of(self, &row.key).is_none_or(|old| old <= row.generation) {
                    self.0.insert(row.key.clone(), row.clone());
                }
            }
            Change::Keep(kept) => {
                self.0.insert(kept.row.key.clone(), kept.row.clone());
            }
            Change::Remove { key, generation } => {
                let newer = |old| generation.is_some_and(|generation| old > generation);
                if !generation_of(self, key).is_some_and(newer) {
                    self.0.remove(key);
                }
            }
        }
    }

    /// The change as one of a database of values, made by somebody who has looked before.
    fn keeping(&self, change: &Change) -> Option<Change> {
        let Change::Put(row) = change else { return Some(change.clone()) };
        let old = self.0.get(&row.key).cloned();
        let newer = old.as_ref().is_some_and(|old| old.generation > row.generation);
        // Nothing of ours is foreign there, and totals count what is kept.
        let content = vec![3; usize::try_from(row.size).unwrap()].into();
        let row = Row { foreign: false, ..row.clone() };
        (!newer).then(|| Change::Keep(Arc::new(Kept { row, content, old, mends: false })))
    }

    fn page(&self, after: &Option<String>, limit: usize, keep: impl Fn(&Row) -> bool) -> Vec<Row> {
        let follows = |row: &&Row| after.as_ref().is_none_or(|after| row.key > *after);
        self.0.values().filter(follows).filter(|row| keep(row)).take(limit).cloned().collect()
    }

    fn totals(&self) -> Totals {
        Totals {
            entries: self.0.len() as u64,
            total_size: self.0.values().map(|row| row.size).sum(),
            foreign: self.0.values().filter(|row| row.foreign).count() as u64,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_index_answers_as_a_sorted_map_would(
        values: bool,
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let index = if values {
            SqliteIndex::values(folder.path().join("inline"), Clock::system())
        } else {
            new_index(folder.path())
        };
        let mut model = Model::default();
        for step in &steps {
            match step {
                Step::Apply(changes) if values => {
                    for change in changes {
                        let Some(change) = model.keeping(change) else { continue };
                        index.apply(std::slice::from_ref(&change)).unwrap();
                        model.apply(&change);
                    }
                }
                Step::Apply(changes) => {
                    index.apply(changes).unwrap();
                    changes.iter().for_each(|change| model.apply(change));
                }
                Step::Page { prefix, after, limit } => {
                    let expected = model.page(after, *limit, |row| row.key.starts_with(prefix));
                    let found = index.page(prefix, after.as_deref(), *limit).unwrap();
                    prop_assert_eq!(found, expected);
                    let lasting = |row: &Row| row.key.starts_with(prefix) && row.expires_at.is_none();
                    let expected = model.page(after, *limit, lasting);
                    let found = index.keys(prefix, after.as_deref(), *limit, &|_| true).unwrap();
                    prop_assert!(found.iter().eq(expected.iter().map(|row| &row.key[..])));
                }
                Step::Expired { now, limit } => {
                    let gone = |row: &Row| row.expires_at.is_some_and(|at| at <= *now);
                    let mut expected = model.page(&None, usize::MAX, gone);
                    // Beyond i64::MAX the times are one, and the key decides.
                    expected.sort_by_key(|row| {
                        row.expires_at.map(|at| i64::try_from(at).unwrap_or(i64::MAX))
                    });
                    let found = index.expired(*now, None, *limit).unwrap();
                    let most = expected.len().min(*limit);
                    prop_assert!(found.len() <= most);
                    if *now < i64::MAX as u64 || *now == u64::MAX {
                        prop_assert_eq!(&found[..], &expected[..most]);
                        if let Some((last, at)) = found.last().and_then(|row| Some((row, row.expires_at?))) {
                            let rest = index.expired(*now, Some((at, &last.key)), usize::MAX).unwrap();
                            prop_assert_eq!(&rest[..], &expected[most..]);
                        }
                    }
                }
                Step::Tagged { tag, after, limit } => {
                    let expected = model.page(after, *limit, |row| row.tags.contains(tag));
                    let found = index.tagged(tag, after.as_deref(), *limit).unwrap();
                    prop_assert_eq!(found, expected);
                }
                Step::Close => index.close().unwrap(),
            }
            prop_assert_eq!(index.totals().unwrap(), model.totals());
        }
        for (key, row) in &model.0 {
            let found = index.get(key).unwrap();
            prop_assert_eq!(found.as_ref(), Some(row));
            if values {
                let (found, content) = index.value(key).unwrap().unwrap();
                prop_assert_eq!((&found, content.len() as u64), (row, row.size));
            }
        }
        index.check().unwrap();
    }
}
