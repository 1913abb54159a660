//! What cleaning up owes, whatever the backend.

use std::sync::Arc;
use std::time::Duration;

use super::{key, put};
use crate::backend::{Backend, Durability, Put, Totals};
use crate::clock::ManualClock;

pub(super) fn expires_some(backend: Arc<dyn Backend>, hands: &ManualClock) {
    for number in 0..20 {
        let ttl = Some(1_000);
        backend.put(Put { ttl, ..put(&format!("ends{number}"), "value") }).expect("put");
    }
    backend.put(put("stays", "value")).expect("put");
    assert_eq!(backend.expire_some(5, Durability::Process).expect("nothing"), 0);
    hands.advance(Duration::from_secs(1));
    let mut removed = 0;
    while removed < 20 {
        let some = backend.expire_some(5, Durability::Process).expect("removed");
        assert!(some > 0, "{removed} of 20 only");
        removed += some;
    }
    assert_eq!(backend.expire_some(5, Durability::Process).expect("nothing"), 0);
    assert_eq!(backend.totals().expect("counted"), Totals { entries: 1, total_size: 5 });
}

pub(super) fn removes_what_was_seen(backend: Arc<dyn Backend>, hands: &ManualClock) {
    for name in ["a", "b", "c", "d"] {
        backend.put(put(name, "value")).expect("put");
    }
    let page = backend.list("", None, 10).expect("listed");
    let seen: Vec<_> = page.into_iter().map(|(key, record)| (key, record.generation)).collect();
    backend.put(put("b", "newer")).expect("put");
    backend.delete(&key("c"), &Default::default(), Durability::Process).expect("deleted");
    backend.set_ttl(&key("d"), Some(60_000), Durability::Process).expect("touched");
    let versions = ["a", "b"].map(|name| backend.version(&key(name)));
    hands.advance(Duration::from_secs(1));
    let removed = backend.remove_seen(&seen, Durability::Process);
    let removed: Vec<bool> = removed.into_iter().map(|one| one.expect("no failure")).collect();
    assert_eq!(removed, [true, false, false, false]);
    let left = backend.list("", None, 10).expect("listed");
    assert_eq!(left.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["b", "d"]);
    assert_ne!(backend.version(&key("a")), versions[0], "memory must not answer with it");
    assert!(backend.get(&key("a"), None).expect("looked for").is_none());
}
