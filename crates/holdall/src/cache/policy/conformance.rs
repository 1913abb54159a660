//! What the cache relies on, asked of every policy in the table.

use std::collections::HashSet;

use proptest::prelude::*;

use super::{POLICIES, PolicyKind, Slot};

#[derive(Clone, Debug)]
enum Op {
    Insert(Slot),
    Hit(Slot),
    Remove(Slot),
    Evict,
    OnlyLook,
    Clear,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..24_u32).prop_map(Op::Insert),
        8 => (0..24_u32).prop_map(Op::Hit),
        2 => (0..24_u32).prop_map(Op::Remove),
        6 => Just(Op::Evict),
        2 => Just(Op::OnlyLook),
        1 => Just(Op::Clear),
    ]
}

/// Names only slots that hold an entry, and always one while there is one.
fn conforms(kind: &PolicyKind, ops: &[Op]) -> Result<(), TestCaseError> {
    let mut policy = (kind.build)();
    let mut held = HashSet::new();
    let hash = |slot: Slot| u64::from(slot % 7) << 60;
    for op in ops {
        match *op {
            Op::Insert(slot) if held.insert(slot) => policy.inserted(slot, hash(slot)),
            Op::Insert(slot) | Op::Hit(slot) if held.contains(&slot) => policy.hit(slot),
            Op::Remove(slot) if held.remove(&slot) => policy.removed(slot, hash(slot), false),
            Op::Insert(_) | Op::Hit(_) | Op::Remove(_) => {}
            Op::Evict | Op::OnlyLook => {
                let victim = policy.victim();
                prop_assert_eq!(victim.is_some(), !held.is_empty(), "{}", kind.name);
                if let Some(slot) = victim {
                    prop_assert!(held.contains(&slot), "{} names an empty slot", kind.name);
                    if matches!(op, Op::Evict) {
                        held.remove(&slot);
                        policy.removed(slot, hash(slot), true);
                    }
                }
            }
            Op::Clear => {
                held.clear();
                policy.clear();
            }
        }
    }
    for _ in 0..held.len() {
        let victim = policy.victim();
        let slot = victim.filter(|slot| held.remove(slot));
        prop_assert!(slot.is_some(), "{} cannot be emptied", kind.name);
        if let Some(slot) = slot {
            policy.removed(slot, hash(slot), true);
        }
    }
    prop_assert_eq!(policy.victim(), None, "{} names a victim when empty", kind.name);
    Ok(())
}

proptest! {
    #[test]
    fn every_policy_names_a_held_slot_while_there_is_one(
        ops in prop::collection::vec(op(), 0..300),
    ) {
        for kind in POLICIES {
            conforms(kind, &ops)?;
        }
    }
}
