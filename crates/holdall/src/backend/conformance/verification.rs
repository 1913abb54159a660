//! What a verification owes, whatever the backend.

use std::sync::{Arc, Mutex};

use super::put;
use crate::backend::health::Examiner;
use crate::backend::{Backend, Reading};
use crate::cancel::CancelToken;
use crate::clock::ManualClock;
use crate::error::ErrorKind;
use crate::key::Key;
use crate::record::Record;

pub(super) fn reads_everything(backend: Arc<dyn Backend>, _: &ManualClock) {
    for number in 0..100 {
        backend.put(put(&format!("k{number}"), "value")).expect("put");
    }
    let seen = Mutex::new(0);
    let inspect = |_: &Key, _: &Record, content: &dyn Reading| {
        let mut bytes = [0; 9];
        let read = content.read_at(&mut bytes, 0)?;
        assert_eq!(&bytes[..read], b"value");
        *seen.lock().expect("no panic") += 1;
        Ok(None)
    };
    let mut work = backend.verification().expect("begun");
    let examiner = Examiner { backend: &*backend, inspect: &inspect };
    while work.step(examiner).expect("a step").is_some() {}
    let report = work.report();
    assert!(report.is_ok() && report.notices.is_empty(), "{report:?}");
    assert_eq!((report.checked, report.bytes), (100, 500));
    assert_eq!(*seen.lock().expect("no panic"), 100);
    let done = backend.mend(&report, &inspect, false).expect("nothing to be done");
    assert!(done.is_unchanged() && done.kept.is_empty());
    let token = CancelToken::new();
    token.cancel();
    let mut work = backend.verification().expect("begun");
    let error = token.run(|| work.step(examiner)).expect_err("cancelled");
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}
