//! The fuzz targets on some bytes, chosen by chance; `make fuzz` looks for those that matter.

use holdall::fuzzing::TARGETS;
use proptest::prelude::*;

fn try_on(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|(known, _)| *known == name).expect("a target");
    target.1(data);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_keep_every_promise(data in prop::collection::vec(any::<u8>(), 0..400)) {
        for name in ["stamp", "row", "key", "trailer", "compression", "json", "clock"] {
            try_on(name, &data);
        }
    }

    #[test]
    fn any_text_is_a_key_of_its_own(text in ".{0,300}") {
        try_on("key", text.as_bytes());
    }

    #[test]
    fn any_path_is_a_key_of_its_own(text in "[a-zA-Z0-9%=./_-]{0,300}") {
        try_on("key", text.as_bytes());
    }

    #[test]
    fn any_json_comes_back(text in r#"[\[\]{}",:0-9eE+.tfn-]{0,60}"#) {
        try_on("json", text.as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn any_file_under_any_name_leaves_the_others_alone(
        head in any::<[u8; 3]>(),
        rest in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        try_on("adoption", &[&head[..], &rest].concat());
    }
}

#[test]
fn a_store_finds_what_is_planted_in_it() {
    // Of this store, with its own stamp cut in every place.
    for kind in 0x80..0x85 {
        for cut in 0..20 {
            try_on("adoption", &[0, kind, 1, cut, b'1']);
        }
    }
}
