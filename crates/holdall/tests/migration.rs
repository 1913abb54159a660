//! Migrations that are stopped, and what they leave to the next step or the next run.

use holdall::format::Codec;
use holdall::{BlobManager, BlobOptions, CancelToken, ErrorKind, Format, Migrate};

const VALUES: u64 = 600;

fn filled() -> (tempfile::TempDir, BlobManager) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = BlobManager::new(dir.path().join("store"));
    let encoded =
        |number: u64| BlobManager::encoded(&format!("{number:03}"), "text", Format::String);
    let saves = (0..VALUES).map(|number| encoded(number).expect("it is text")).collect();
    assert!(store.save_many(saves).iter().all(Result::is_ok));
    (dir, store)
}

fn to_json() -> Migrate {
    Migrate { format: Some(Format::Json), ..Migrate::default() }
}

fn loads(store: &BlobManager) -> u64 {
    let stats = store.get_stats().expect("it is there");
    stats.operations.iter().filter(|counted| counted.name == "load").map(|load| load.count()).sum()
}

#[test]
fn what_a_cancellation_stopped_is_done_by_the_next_step_and_is_no_failure() {
    for round in 0..6 {
        let (_dir, store) = filled();
        let mut migration = store.migration(to_json());
        let token = CancelToken::new();
        let stopped = std::thread::scope(|scope| {
            scope.spawn(|| {
                while loads(&store) < round * 100 {
                    std::hint::spin_loop();
                }
                token.cancel();
            });
            token.run(|| {
                loop {
                    match migration.step() {
                        Ok(true) => {}
                        end => return end,
                    }
                }
            })
        });
        if let Err(error) = stopped {
            assert_eq!(error.kind(), ErrorKind::Cancelled);
        }
        let so_far = migration.so_far();
        assert!(so_far.failed.is_empty(), "a key failed that was only stopped: {so_far:?}");
        assert!(so_far.converted + so_far.unchanged <= so_far.checked);
        while migration.step().expect("nobody stops it now") {}
        let done = migration.finish();
        assert_eq!((done.checked, done.converted, done.failed.len()), (VALUES, VALUES, 0));
        assert_eq!(store.load::<String>("599").expect("it is there"), "text");
    }
}

#[test]
fn values_that_take_python_are_counted_and_named_step_by_step() {
    let (_dir, store) = filled();
    let pickle = Migrate { format: Some(Format::Pickle), ..Migrate::default() };
    let mut migration = store.migration(pickle);
    let mut named = Vec::new();
    let mut is_more = true;
    while is_more {
        is_more = migration.step().expect("it is only looked at");
        assert!(migration.foreign().len() <= 256, "more than one step looks at");
        named.extend_from_slice(migration.foreign());
    }
    let expected: Vec<_> = (0..VALUES).map(|number| format!("{number:03}")).collect();
    assert_eq!(named, expected);
    assert_eq!(migration.finish().foreign, VALUES);
}

#[test]
fn with_a_format_to_come_from_only_values_of_that_one_are_counted() {
    let (_dir, store) = filled();
    for number in 0..10 {
        store.save(&format!("json/{number}"), &number, Format::Json).expect("saved");
        store
            .save_parts(&format!("b/{number}"), Format::Bytes, vec![], <_>::default())
            .expect("saved");
    }
    let asked = Migrate { from: Some(Format::String), ..to_json() };
    let done = store.migrate(asked.clone(), |_| ()).expect("migrated");
    assert_eq!((done.checked, done.converted, done.unchanged), (VALUES, VALUES, 0));
    let again = store.migrate(asked, |_| ()).expect("migrated");
    assert_eq!((again.checked, again.converted, again.unchanged), (0, 0, 0));
}

#[test]
fn what_lies_inline_stays_there_whatever_the_manager_that_migrates_keeps_inline() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("store");
    let base_path = path.clone();
    let store = BlobManager::with_options(BlobOptions {
        base_path,
        inline_below: 1_000,
        ..BlobOptions::default()
    });
    let text = |number: u64| format!("{number:03} {}", "x".repeat(300 * number as usize));
    for number in 0..10 {
        let key = format!("{number:03}");
        store.save(&key, &text(number), Format::String).expect("saved");
    }
    let files = || {
        let entries = std::fs::read_dir(&path).expect("there");
        entries.filter(|entry| entry.as_ref().expect("read").path().is_file()).count()
    };
    let before = files();
    assert!((1..9).contains(&before), "{before}");
    store.close().expect("closed");
    let other = BlobManager::new(&path);
    for asked in [
        to_json(),
        Migrate { compression: Some(Codec::Zstd), ..Migrate::default() },
        Migrate { compression: Some(Codec::None), ..Migrate::default() },
    ] {
        let mut migration = other.migration(asked);
        while migration.step().expect("a step") {}
        assert!(migration.finish().converted > 0);
        assert_eq!(files(), before);
    }
    for number in 0..10 {
        let found: String = other.load(&format!("{number:03}")).expect("loaded");
        assert_eq!(found, text(number));
    }
}

#[test]
fn one_migration_at_a_time_is_at_work_in_a_store() {
    let (dir, store) = filled();
    let other = BlobManager::new(dir.path().join("store"));
    let mut migration = store.migration(to_json());
    assert!(migration.step().expect("it is the first"), "it was over at once");
    let zstd = Migrate { compression: Some(Codec::Zstd), ..Migrate::default() };
    for each in [&store, &other] {
        let refused = each.migrate(zstd.clone(), |_| ()).expect_err("one is at work");
        assert_eq!(refused.kind(), ErrorKind::Busy);
        let told = refused.to_string();
        assert!(told.contains("another migration is at work in this store"), "{told}");
        assert!(told.contains("run it again when that has ended"), "{told}");
    }
    let beside = [
        Migrate { dry_run: true, ..zstd.clone() },
        Migrate { is_part: true, prefix: "none".into(), ..zstd.clone() },
    ];
    for asked in beside {
        other.migrate(asked, |_| ()).expect("it may be beside another");
    }
    while migration.step().expect("it goes on") {}
    assert_eq!(migration.finish().converted, VALUES);
    other.migrate(zstd, |_| ()).expect("the other has ended");
}
