//! What formats promise: one table, values that come back equal, errors that quote no value.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;

const SECRET: &str = "hunter2";

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipe {
    name: String,
    minutes: u8,
    steps: Vec<Step>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Step {
    Wait,
    Heat(f64),
    Mix { what: Option<String>, with: (u8, char) },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Name(String);

/// Bytes as the crate `bytes` and `serde_bytes` hand them to serde.
#[derive(Debug, PartialEq)]
struct Blob(Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;
        impl serde::de::Visitor<'_> for Whole {
            type Value = Blob;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }
        }
        deserializer.deserialize_byte_buf(Whole)
    }
}

fn there_and_back<T>(format: Format, value: &T)
where
    T: Serialize + DeserializeOwned + PartialEq + fmt::Debug,
{
    let bytes = encode(format, value).expect("encodes");
    assert_eq!(&decode::<T>(format, &bytes).expect("decodes"), value);
}

fn refused<T: DeserializeOwned + fmt::Debug>(format: Format, bytes: impl AsRef<[u8]>) -> Error {
    let error = decode::<T>(format, bytes.as_ref()).expect_err("does not decode");
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(!format!("{error} {error:?}").contains(SECRET), "{error}");
    error
}

#[test]
fn numbers_names_and_suffixes_are_these_for_ever() {
    let table: Vec<_> = Format::all()
        .iter()
        .map(|format| (format.id(), format.name(), format.suffix(), format.is_signed()))
        .collect();
    assert_eq!(
        table,
        [
            (1, "json", ".json", false),
            (2, "custom_json", ".json", false),
            (3, "pickle", ".pkl", true),
            (4, "joblib", ".joblib", true),
            (5, "string", ".txt", false),
            (6, "bytes", ".bin", false),
            (7, "npy", ".npy", false),
        ]
    );
    let codecs = [Codec::None, Codec::Zstd, Codec::Lz4].map(|codec| (codec.id(), codec.suffix()));
    assert_eq!(codecs, [(0, ""), (1, ".zst"), (2, ".lz4")]);
}

#[test]
fn a_format_is_found_by_name_number_and_suffix() {
    for &format in Format::all() {
        assert_eq!(Format::from_name(format.name()).expect("a known name"), format);
        assert_eq!(Format::from_id(format.id()), Some(format));
    }
    assert_eq!(Format::from_name("text").expect("an alias"), Format::String);
    assert_eq!(Format::from_suffix(".json"), Some(Format::Json));
    assert_eq!(Format::from_suffix(".npy"), Some(Format::Npy));
    assert_eq!((Format::from_id(0), Format::from_id(8), Codec::from_id(3)), (None, None, None));
    assert_eq!(Format::from_suffix("json"), None);
    let error = Format::from_name("yaml").expect_err("no such format");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(
        error
            .to_string()
            .ends_with("use one of json, custom_json, pickle, joblib, string, bytes, npy")
    );
}

#[test]
fn no_two_files_of_a_store_read_as_the_same_name_format_and_codec() {
    let mut seen = HashSet::new();
    for stem in ["a", "a.json", "a.json.zst", "a.zst", "a.pkl"] {
        for &format in Format::all().iter().filter(|format| **format != Format::CustomJson) {
            for codec in [Codec::None, Codec::Zstd, Codec::Lz4] {
                let file = format!("{stem}{}{}", format.suffix(), codec.suffix());
                assert_eq!(split_suffix(&file), Some((stem, format, codec)));
                assert!(seen.insert(file));
            }
        }
    }
    for foreign in
        ["", "a", ".json", ".json.zst", "a/.json", "json", "a.zst", "a.JSON", "a.json.gz"]
    {
        assert_eq!(split_suffix(foreign), None, "{foreign}");
    }
    assert_eq!(split_suffix("a.json.zst.zst"), None);
}

#[test]
fn values_come_back_equal() {
    let steps = vec![
        Step::Wait,
        Step::Heat(0.1 + 0.2),
        Step::Mix { what: None, with: (255, 'é') },
        Step::Mix { what: Some("\u{0}\u{7f}🙂".into()), with: (0, '"') },
    ];
    there_and_back(Format::Json, &Recipe { name: "Soup".into(), minutes: 9, steps });
    there_and_back(Format::CustomJson, &BTreeMap::from([(7_u64, u64::MAX), (8, 0)]));
    there_and_back(Format::Json, &(i128::MIN, u128::MAX, f32::MAX, -0.0_f64, (), Some(false)));
    there_and_back(Format::String, &String::from("zwei\nZeilen 🙂"));
    there_and_back(Format::String, &Some(Name(String::new())));
    there_and_back(Format::String, &'é');
    there_and_back(Format::String, &Step::Wait);
    there_and_back(Format::Bytes, &vec![0_u8, 255, 10]);
    there_and_back(Format::Bytes, &Some([1_u8, 2, 3]));
    there_and_back(Format::Bytes, &Blob(vec![0, 1, 2]));
    there_and_back(Format::Bytes, &Vec::<u8>::new());
    assert_eq!(encode(Format::String, "as it is").expect("text"), b"as it is");
    assert_eq!(encode(Format::Bytes, &b"as it is"[..]).expect("bytes"), b"as it is");
    assert_eq!(encode(Format::Json, &[1, 2]).expect("JSON"), b"[1,2]");
}

#[test]
fn json_refuses_what_it_would_write_as_null() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let nested = BTreeMap::from([("a", vec![Some((1.0, Step::Heat(value)))])]);
        for error in [
            encode(Format::Json, &nested).expect_err("refused"),
            encode(Format::Json, &(value as f32)).expect_err("refused"),
            encode(Format::Json, &Step::Heat(value)).expect_err("refused"),
        ] {
            assert_eq!(error.kind(), ErrorKind::Encode);
            assert!(error.cause().contains("NaN"), "{error}");
        }
    }
    let error = encode(Format::Json, &BTreeMap::from([((1, 2), 3)])).expect_err("no such key");
    assert!(error.cause().contains("keys of a map"), "{error}");
}

/// Alternates the ways in which a level may be opened.
#[derive(Serialize, Deserialize, Debug)]
enum Deep {
    End,
    List([Box<Deep>; 1]),
    Named { inner: Box<Deep> },
    One(Box<Deep>),
}

#[test]
fn json_writes_no_deeper_than_it_reads() {
    fn nest(kind: usize, times: usize) -> Deep {
        (0..times).fold(Deep::End, |inner, _| match kind {
            0 => Deep::List([Box::new(inner)]),
            1 => Deep::Named { inner: Box::new(inner) },
            _ => Deep::One(Box::new(inner)),
        })
    }
    for (kind, levels) in [(0, 2), (1, 2), (2, 1)] {
        let most = 127 / levels;
        let bytes = encode(Format::Json, &nest(kind, most)).expect("as deep as allowed");
        decode::<Deep>(Format::Json, &bytes).expect("reads back");
        let error = encode(Format::Json, &nest(kind, most + 1)).expect_err("too deep");
        assert!(error.cause().contains("127 levels"), "{error}");
    }
    let [allowed, bomb] = [127, 100_000].map(|depth| "[".repeat(depth) + &"]".repeat(depth));
    decode::<serde_json::Value>(Format::Json, allowed.as_bytes()).expect("127 levels");
    assert!(refused::<serde_json::Value>(Format::Json, bomb).cause().contains("recursion limit"));
}

#[test]
fn a_json_error_has_line_and_column_and_no_value() {
    let error = refused::<Recipe>(Format::Json, "{\n  \"name\": \"a\",\n  \"minutes\": 9,,\n}");
    let position = error.text_position().expect("a position");
    assert_eq!((position.line, position.column), (3, 16));
    assert!(error.to_string().contains("not valid JSON: ") && !error.cause().contains(" at line "));
    for (text, told) in [
        (r#"{"name":"a","minutes":"hunter2","steps":[]}"#, "invalid type: string, expected u8"),
        (r#"{"name":"a","minutes":"hunter2, expected x"}"#, "invalid type: string, expected u8"),
        (r#"{"name":"a","minutes":300,"steps":[]}"#, "invalid value: integer, expected u8"),
        (r#"{"name":"a","minutes":null,"steps":[]}"#, "invalid type: null, expected u8"),
        (r#"{"hunter2":1}"#, "unknown field, expected one of `name`, `minutes`, `steps`"),
        (r#"{"name":"a"}"#, "missing field `minutes`"),
        (r#"{"name":"a","minutes":1,"steps":["hunter2"]}"#, "unknown variant, expected one of"),
    ] {
        let error = refused::<Recipe>(Format::Json, text);
        assert!(error.cause().contains(told), "{error}");
        assert!(error.text_position().is_some());
    }
    refused::<u8>(Format::Json, "");
    refused::<u8>(Format::Json, "1 hunter2");
    let error = refused::<std::net::IpAddr>(Format::Json, "\"hunter2\"");
    assert!(error.cause().ends_with("does not fit"), "{error}");
}

#[test]
fn text_and_bytes_take_nothing_else() {
    for format in [Format::String, Format::Bytes] {
        assert_eq!(encode(format, &7_u64).expect_err("a number").kind(), ErrorKind::Encode);
        assert!(encode(format, &()).is_err());
        assert!(encode(format, &None::<String>).is_err());
        assert!(encode(format, &vec!["a"]).is_err());
        assert!(encode(format, &BTreeMap::from([("a", 1)])).is_err());
    }
    assert!(encode(Format::String, &vec![1_u8]).is_err());
    assert!(encode(Format::Bytes, "text").is_err());
    assert!(encode(Format::Bytes, &vec![1_u16]).is_err());
    let error = refused::<String>(Format::String, b"ab\xffcd");
    assert!(error.cause().contains("byte 2"), "{error}");
    refused::<u32>(Format::String, SECRET);
    refused::<Step>(Format::String, SECRET);
    refused::<String>(Format::Bytes, SECRET);
    refused::<[u8; 3]>(Format::Bytes, SECRET);
    refused::<[u8; 30]>(Format::Bytes, SECRET);
    refused::<Vec<bool>>(Format::Bytes, SECRET);
}

#[test]
fn what_only_python_encodes_is_refused_with_the_way_out() {
    for format in [Format::Pickle, Format::Joblib, Format::Npy] {
        let error = encode(format, "x").expect_err("Python's");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(
            error.to_string().contains("Python format") && error.to_string().contains("save_bytes")
        );
        assert!(decode::<String>(format, b"x").is_err());
    }
}

proptest! {
    #[test]
    fn every_finite_number_comes_back_bit_for_bit(bits: u64) {
        let value = f64::from_bits(bits);
        prop_assume!(value.is_finite());
        let bytes = encode(Format::Json, &value).expect("encodes");
        prop_assert_eq!(decode::<f64>(Format::Json, &bytes).expect("decodes").to_bits(), bits);
    }

    #[test]
    fn any_text_and_any_bytes_come_back(text: String, bytes: Vec<u8>) {
        there_and_back(Format::Json, &text);
        there_and_back(Format::String, &text);
        there_and_back(Format::Bytes, &bytes);
        there_and_back(Format::Json, &bytes);
    }
}
