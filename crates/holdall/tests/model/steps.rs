//! What may happen to a store: saves and the rest, at random.

use proptest::prelude::*;

use super::blobs::{FORMATS, KEYS};

#[derive(Debug, Clone)]
pub(super) struct Saving {
    pub(super) key: usize,
    pub(super) format: usize,
    pub(super) ttl: Option<u64>,
    pub(super) tags: Vec<String>,
    pub(super) noted: bool,
    pub(super) condition: Wish,
}

/// A condition, before it is known what is there.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wish {
    Any,
    Absent,
    Match,
    Mismatch,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    Save(Saving),
    SaveMany(Vec<Saving>),
    Delete(usize, Wish),
    DeleteMany(Vec<usize>),
    Touch(usize, Option<u64>),
    Move {
        from: usize,
        to: usize,
        overwrite: bool,
        keep: bool,
    },
    Advance(u64),
    Expire,
    Clear,
    /// Another program writes the file, or makes one.
    Edit(usize),
    /// Another program removes the file.
    Remove(usize),
    Reopen {
        close: bool,
        lose_index: bool,
        inline_below: u64,
    },
}

/// Values have one byte or more, and those with a signature 65 or more.
pub(super) fn inline_below() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0_u64), Just(2), Just(66), Just(1_000)]
}

fn key() -> std::ops::Range<usize> {
    0..KEYS.len()
}

fn ttl() -> impl Strategy<Value = Option<u64>> {
    prop::option::of(1..40_u64)
}

fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![
        6 => Just(Wish::Any),
        1 => Just(Wish::Absent),
        1 => Just(Wish::Match),
        1 => Just(Wish::Mismatch),
    ]
}

prop_compose! {
    fn saving()(
        key in key(), format in 0..FORMATS.len(), ttl in ttl(),
        tags in prop::collection::btree_set("[xy]", 0..3), noted: bool, condition in wish(),
    ) -> Saving {
        Saving { key, format, ttl, tags: tags.into_iter().collect(), noted, condition }
    }
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let moving = (key(), key(), any::<bool>(), any::<bool>());
    prop_oneof![
        8 => saving().prop_map(Step::Save),
        2 => prop::collection::vec(saving(), 0..4).prop_map(Step::SaveMany),
        2 => (key(), wish()).prop_map(|(key, wish)| Step::Delete(key, wish)),
        1 => prop::collection::vec(key(), 0..4).prop_map(Step::DeleteMany),
        2 => (key(), ttl()).prop_map(|(key, ttl)| Step::Touch(key, ttl)),
        4 => moving.prop_map(|(from, to, overwrite, keep)| {
            Step::Move { from, to, overwrite, keep }
        }),
        3 => (1..30_u64).prop_map(Step::Advance),
        1 => Just(Step::Expire),
        1 => Just(Step::Clear),
        3 => key().prop_map(Step::Edit),
        1 => key().prop_map(Step::Remove),
        2 => (any::<bool>(), any::<bool>(), inline_below()).prop_map(
            |(close, lose_index, inline_below)| Step::Reopen { close, lose_index, inline_below }
        ),
    ]
}
