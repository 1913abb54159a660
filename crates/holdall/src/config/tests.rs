//! What configuration promises: the order of sources, and errors that say where and what.

use super::*;

/// The `.env` of the specification.
const SPECIFIED: &str = "\
# =================================================================
# STORAGE CONFIGURATION
# =================================================================
BLOB_STORAGE_ENABLED=true            # Enable/disable blob storage
BLOB_STORAGE_BASE_PATH=tmp/storage   # Base path for blob storage
CACHE_ENABLED=true                   # Enable/disable memory caching
CACHE_MAX_SIZE=100                   # Maximum cache entries
CACHE_DEFAULT_TTL=3600              # Default cache TTL in seconds
";

fn env(pairs: &[(&'static str, &str)]) -> impl Fn(&str) -> Option<String> {
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    move |name| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.clone())
}

fn with(name: &'static str, value: &str) -> Result<Settings> {
    Settings::resolve(env(&[(name, value)]), None)
}

fn source(settings: &Settings, name: &str) -> Source {
    settings.sources().find(|pair| pair.0 == name).expect("a known variable").1
}

#[test]
fn without_variables_the_built_in_defaults_hold() {
    let settings = Settings::resolve(|_| None, None).expect("the defaults");
    assert_eq!(settings, Settings::default());
    assert_eq!(settings.base_path, PathBuf::from("tmp/storage"));
    assert_eq!(settings.cache_max_size, 1_000);
    assert_eq!(settings.cache_default_ttl, Some(Duration::from_secs(3_600)));
    assert!(settings.sources().all(|(_, source)| source == Source::Default));
}

#[test]
fn the_file_of_the_specification_is_read_without_its_comments() {
    for text in [SPECIFIED.to_owned(), SPECIFIED.replace('\n', "\r\n")] {
        let settings = Settings::resolve(|_| None, Some(&text)).expect("readable");
        assert_eq!(settings.base_path, PathBuf::from("tmp/storage"));
        assert_eq!(settings.cache_max_size, 100);
        assert!(settings.blob_storage_enabled && settings.cache_enabled);
        assert_eq!(source(&settings, "CACHE_MAX_SIZE"), Source::DotEnv { line: 7 });
        assert_eq!(source(&settings, "LOG_LEVEL"), Source::Default);
    }
}

#[test]
fn the_environment_comes_before_the_file_and_an_empty_value_is_none() {
    let read = env(&[("CACHE_MAX_SIZE", "7"), ("CACHE_DEFAULT_TTL", ""), ("LOG_LEVEL", " ")]);
    let settings = Settings::resolve(read, Some(SPECIFIED)).expect("readable");
    assert_eq!(settings.cache_max_size, 7);
    assert_eq!(source(&settings, "CACHE_MAX_SIZE"), Source::Environment);
    assert_eq!(source(&settings, "CACHE_DEFAULT_TTL"), Source::DotEnv { line: 8 });
    assert_eq!((settings.log_level, source(&settings, "LOG_LEVEL")), (None, Source::Default));
}

#[test]
fn switches_numbers_and_levels_are_taken_in_every_allowed_form() {
    for on in ["true", "TRUE", "1", "yes", "On", " true "] {
        assert!(with("LOG_DEBUG_ENABLED", on).expect("on").log_debug_enabled);
    }
    for off in ["false", "False", "0", "no", "OFF"] {
        assert!(!with("CACHE_ENABLED", off).expect("off").cache_enabled);
        assert!(!with("BLOB_STORAGE_ENABLED", off).expect("off").blob_storage_enabled);
    }
    for (text, ttl) in [
        ("60", Some(Duration::from_secs(60))),
        ("0.5", Some(Duration::from_millis(500))),
        ("1e3", Some(Duration::from_secs(1_000))),
        ("None", None),
    ] {
        assert_eq!(with("CACHE_DEFAULT_TTL", text).expect("a TTL").cache_default_ttl, ttl);
    }
    for (text, level) in
        [("DEBUG", Level::Debug), ("warn", Level::Warning), ("Fatal", Level::Critical)]
    {
        assert_eq!(with("LOG_LEVEL", text).expect("a level").log_level, Some(level));
    }
    let path = with("BLOB_STORAGE_BASE_PATH", "/data/a b #1").expect("a path").base_path;
    assert_eq!(path, PathBuf::from("/data/a b #1"));
}

#[test]
fn a_bad_value_is_named_with_its_place_and_what_is_allowed() {
    for (name, bad) in [
        ("BLOB_STORAGE_ENABLED", "maybe"),
        ("BLOB_STORAGE_BASE_PATH", "a\0b"),
        ("CACHE_ENABLED", "2"),
        ("CACHE_MAX_SIZE", "0"),
        ("CACHE_MAX_SIZE", "-1"),
        ("CACHE_MAX_SIZE", "1.5"),
        ("CACHE_DEFAULT_TTL", "0"),
        ("CACHE_DEFAULT_TTL", "-1"),
        ("CACHE_DEFAULT_TTL", "nan"),
        ("CACHE_DEFAULT_TTL", "inf"),
        ("CACHE_DEFAULT_TTL", "1e-30"),
        ("CACHE_DEFAULT_TTL", "1h"),
        ("LOG_LEVEL", "loud"),
        ("LOG_DEBUG_ENABLED", "y es"),
    ] {
        let error = with(name, bad).expect_err("a bad value");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        let start = format!("{name} is {bad:?} (from the environment); set it to ");
        assert!(error.to_string().starts_with(&start), "{error}");
    }
    let text = "A=1\nexport CACHE_MAX_SIZE = many # really\n";
    let error = Settings::resolve(|_| None, Some(text)).expect_err("a bad value");
    assert!(error.to_string().starts_with("CACHE_MAX_SIZE is \"many\" (from line 2 of .env); "));
}

#[test]
fn lines_of_others_that_cannot_be_read_are_passed_over_and_ours_are_not() {
    let text = "PASSWORD=a b c\n???\nCACHE_MAX_SIZE=5\nX=\"two\nlines\"\nLOG_LEVEL='info'   ";
    let settings = Settings::resolve(|_| None, Some(text)).expect("ours are fine");
    assert_eq!((settings.cache_max_size, settings.log_level), (5, Some(Level::Info)));
    assert_eq!(source(&settings, "LOG_LEVEL"), Source::DotEnv { line: 6 });
    for text in
        ["A=1\nBLOB_STORAGE_BASE_PATH=my folder\n", "NOTE=it's\nBLOB_STORAGE_BASE_PATH=/data\n"]
    {
        let error = Settings::resolve(|_| None, Some(text)).expect_err("ours cannot be read");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        let told = error.to_string();
        assert!(told.starts_with("BLOB_STORAGE_BASE_PATH in line 2 of .env cannot"), "{told}");
    }
    // The environment decides, so what `.env` says about it does not matter.
    let read = env(&[("BLOB_STORAGE_BASE_PATH", "/data")]);
    assert!(Settings::resolve(read, Some("BLOB_STORAGE_BASE_PATH=my folder")).is_ok());
}

#[test]
fn the_last_of_two_lines_counts_and_a_byte_order_mark_does_not() {
    let text = "\u{feff}CACHE_MAX_SIZE=1\nCACHE_MAX_SIZE=2\n# CACHE_MAX_SIZE=3\n";
    let settings = Settings::resolve(|_| None, Some(text)).expect("readable");
    assert_eq!(settings.cache_max_size, 2);
    assert_eq!(source(&settings, "CACHE_MAX_SIZE"), Source::DotEnv { line: 2 });
}

#[test]
fn reading_leaves_the_environment_as_it_is() {
    let name = "HOLDALL_TEST_NEVER_SET";
    Settings::resolve(|_| None, Some(&format!("{name}=1\n"))).expect("readable");
    assert!(std::env::var_os(name).is_none());
}

#[test]
fn an_examination_tells_all_mistakes_and_keeps_what_is_right() {
    let variables = [("CACHE_MAX_SIZE", "many"), ("LOG_LEVEL", "loud"), ("HOME", "/h")];
    let dotenv = "CACHE_ENABLED=perhaps\nBLOB_STORAGE_BASE_PATH=/data\nBLOB_STORAGE_PATH=/x\n";
    let Examined { settings, errors, names, .. } = Examined::resolve(&variables, Some(dotenv));
    assert_eq!(settings.shown("BLOB_STORAGE_BASE_PATH"), "/data");
    assert_eq!(source(&settings, "BLOB_STORAGE_BASE_PATH"), Source::DotEnv { line: 2 });
    assert_eq!(settings.shown("CACHE_MAX_SIZE"), "1000");
    let told: Vec<_> = errors.iter().map(|error| error.to_string()).collect();
    let begin =
        ["CACHE_ENABLED is \"perhaps\" (from line 1 of .env)", "CACHE_MAX_SIZE", "LOG_LEVEL"];
    assert_eq!(told.len(), begin.len(), "{told:?}");
    for (told, begin) in told.iter().zip(begin) {
        assert!(told.starts_with(begin), "{told}");
    }
    let named: Vec<_> = names.iter().map(|(name, _)| name.as_str()).collect();
    let sorted = ["CACHE_MAX_SIZE", "HOME", "LOG_LEVEL"];
    let dotenv = ["CACHE_ENABLED", "BLOB_STORAGE_BASE_PATH", "BLOB_STORAGE_PATH"];
    assert_eq!(named, [sorted, dotenv].concat());
    assert_eq!(names[5].1, Source::DotEnv { line: 3 });
}

#[test]
fn every_variable_is_shown_as_it_would_be_written() {
    let settings = Settings::default();
    let shown: Vec<_> = settings.sources().map(|(name, _)| settings.shown(name)).collect();
    assert_eq!(shown, ["true", "tmp/storage", "true", "1000", "3600", "unset", "false"]);
    for (name, value) in [("CACHE_DEFAULT_TTL", "0.5"), ("LOG_LEVEL", "critical")] {
        assert_eq!(with(name, value).expect("allowed").shown(name), value);
    }
}
