//! What signatures promise: every part of what a payload is counts, and errors tell apart.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::source::{Place, discover};
use super::*;
use crate::config::dotenv::DotEnv;

const STORE: &[u8] = b"store-id-16bytes";
const SECRET: &str = "correct horse battery staple";

fn ring(secrets: &str) -> Keyring {
    Keyring::from_list(secrets).expect("long enough")
}

/// What `verify` says of a payload in one part.
fn verdict(
    ring: &Keyring,
    store: &[u8],
    format: &str,
    key: &str,
    payload: &[u8],
    tag: &Tag,
) -> Result<()> {
    ring.verify(store, format, key, [payload], Some(tag))
}

fn unhex(digits: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex");
    (0..digits.len()).step_by(2).map(byte).collect()
}

#[test]
fn key_id_mac_and_trailer_are_these_for_ever() {
    // Computed with another implementation of BLAKE3 and XXH3 from the description above.
    let ring = ring("0123456789abcdef");
    let tag = ring.sign(STORE, "pickle", "größe/1", [&b"\x80\x04"[..], b"N."]);
    assert_eq!(ring.first().fingerprint(), "d2fdb3a23b98e5b4");
    assert_eq!(
        tag.mac.to_vec(),
        unhex("9968e9212039777631227649b58d0b6d1a028378399d3d869a741bf8d5d9d046")
    );
    let trailer = "d2fdb3a23b98e5b49968e9212039777631227649b58d0b6d1a028378399d3d869a741bf8d5d9d046\
                   0000000000000140a8fd912bb2a6673b89484f4c44414c4c";
    assert_eq!(trailer::append(&tag).to_vec(), unhex(trailer));
}

#[test]
fn every_part_of_what_a_payload_is_counts() {
    let ring = ring(SECRET);
    let tag = ring.sign(STORE, "pickle", "recipe", [&b"payload"[..]]);
    verdict(&ring, STORE, "pickle", "recipe", b"payload", &tag).expect("as signed");
    for (store, format, key, payload) in [
        (&b"store-id-16byteS"[..], "pickle", "recipe", &b"payload"[..]),
        (STORE, "joblib", "recipe", b"payload"),
        (STORE, "pickle", "recipf", b"payload"),
        (STORE, "pickle", "recipe", b"payloae"),
        (STORE, "pickle", "recipe", b"payload."),
        (STORE, "pickle", "recipe", b"payloa"),
        (STORE, "pickle", "recipe", b""),
        (b"", "pickle", "recipe", b"payload"),
    ] {
        let error = verdict(&ring, store, format, key, payload, &tag).expect_err("changed");
        assert_eq!(error.kind(), ErrorKind::Untrusted);
        assert!(error.cause().contains("not of this payload"), "{error}");
    }
    for bit in 0..256 {
        let mut other = tag;
        other.mac[bit / 8] ^= 1 << (bit % 8);
        assert!(verdict(&ring, STORE, "pickle", "recipe", b"payload", &other).is_err());
    }
}

#[test]
fn bytes_never_move_from_one_field_to_the_next() {
    let ring = ring(SECRET);
    let text = "aaaaaa";
    let mut macs = std::collections::HashSet::new();
    for (one, two, three) in (0..=6).flat_map(|one| {
        (one..=6).flat_map(move |two| (two..=6).map(move |three| (one, two, three)))
    }) {
        let (store, payload) = (&text[..one], &text[three..]);
        let parts = [payload.as_bytes()];
        let tag = ring.sign(store.as_bytes(), &text[one..two], &text[two..three], parts);
        assert!(macs.insert(tag.mac), "{one} {two} {three}");
    }
    assert_eq!(macs.len(), 84);
}

#[test]
fn version_and_key_id_are_in_the_mac() {
    let signer = SigningKey::from_secret(SECRET).expect("long enough");
    let with = |version: u8, id: [u8; 8]| {
        let mut input = Vec::new();
        for field in [&[version][..], &id, STORE, b"pickle", b"recipe"] {
            input.extend((field.len() as u64).to_le_bytes());
            input.extend(field);
        }
        input.extend(b"payload");
        input.extend(7_u64.to_le_bytes());
        *blake3::keyed_hash(&signer.0, &input).as_bytes()
    };
    let tag = Keyring::from(signer.clone()).sign(STORE, "pickle", "recipe", [&b"payload"[..]]);
    assert_eq!(tag.mac, with(1, signer.id()));
    assert_ne!(tag.mac, with(2, signer.id()));
    assert_ne!(tag.mac, with(1, [0; 8]));
}

#[test]
fn the_three_ways_to_be_untrusted_are_told_apart_with_the_remedy() {
    let ours = ring(SECRET);
    let theirs = ring("another secret and long enough").sign(STORE, "pickle", "k", [&b"p"[..]]);
    let forged = Tag { key_id: ours.first().id(), ..theirs };
    let missing = ours.verify(STORE, "pickle", "k", [&b"p"[..]], None).expect_err("none");
    let unknown = verdict(&ours, STORE, "pickle", "k", b"p", &theirs).expect_err("unknown");
    let wrong = verdict(&ours, STORE, "pickle", "k", b"p", &forged).expect_err("wrong");
    assert!(missing.cause().contains("no signature"));
    assert!(unknown.cause().contains(&fingerprint(&theirs.key_id)));
    assert!(wrong.cause().contains("not of this payload"));
    for error in [missing, unknown, wrong] {
        assert_eq!(error.kind(), ErrorKind::Untrusted);
        let told = error.to_string();
        assert!(told.contains("trust=\"any\"") && told.contains("save it again"), "{told}");
    }
}

#[test]
fn the_first_key_signs_and_every_key_verifies() {
    let old = ring("the old secret of the store");
    let both = ring("the new secret of the store, the old secret of the store ");
    let [before, after] = [&old, &both].map(|ring| ring.sign(STORE, "joblib", "k", [&b"p"[..]]));
    assert_ne!(before.key_id, after.key_id);
    verdict(&both, STORE, "joblib", "k", b"p", &before).expect("an old signature");
    verdict(&both, STORE, "joblib", "k", b"p", &after).expect("a new signature");
    assert!(verdict(&old, STORE, "joblib", "k", b"p", &after).is_err());
    assert!(both.has(&old.first().fingerprint()) && !old.has(&both.first().fingerprint()));
}

#[test]
fn short_secrets_are_refused_and_secrets_are_never_printed() {
    for secrets in ["", ",", "short", "long enough for a key,short", "long enough for a key,"] {
        let error = Keyring::from_list(secrets).expect_err("too short");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(!error.to_string().contains("enough for"), "{error}");
    }
    let source = KeySource::text(SECRET).expect("long enough");
    let printed = format!("{:?} {source:?}", ring(SECRET));
    assert!(!printed.contains("horse") && printed.contains(&ring(SECRET).first().fingerprint()));
    let same = KeySource::bytes(SECRET.as_bytes()).expect("long enough").keyring(None);
    assert_eq!(*same.expect("given"), ring(SECRET));
}

#[test]
fn a_trailer_is_taken_off_only_if_it_is_whole() {
    let tag = ring(SECRET).sign(STORE, "pickle", "k", [&b"p"[..]]);
    let file = [&b"payload."[..], &trailer::append(&tag)].concat();
    assert_eq!(trailer::split(&file), (&b"payload."[..], Some(tag)));
    assert_eq!(trailer::split(&trailer::append(&tag)), (&b""[..], Some(tag)));
    for at in 8..file.len() {
        let mut damaged = file.clone();
        damaged[at] ^= 1;
        assert_eq!(trailer::split(&damaged), (&damaged[..], None), "byte {at}");
    }
    for cut in [&file[..file.len() - 1], &file[9..], b"", b"payload."] {
        let (payload, tag) = trailer::split(cut);
        assert!(tag.is_none() || payload.len() + trailer::LENGTH == cut.len());
    }
    let twice = [&file[..], &trailer::append(&tag)].concat();
    assert_eq!(trailer::split(&twice), (&file[..], Some(tag)));
}

/// A file of our own in a fresh folder.
fn key_file(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("share/holdall/signing.key")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o777
}

#[test]
fn the_users_file_is_made_at_first_use_private_and_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = key_file(&folder);
    let source = KeySource::file(&path);
    assert!(!path.exists());
    let made = source.keyring(None).expect("made");
    assert_eq!((mode(&path), mode(path.parent().expect("a folder"))), (0o600, 0o700));
    assert_eq!(fs::read_dir(path.parent().expect("a folder")).expect("readable").count(), 1);
    assert_eq!(KeySource::file(&path).keyring(None).expect("read"), made);
    // The file's text, put into the variable on another machine, is the same key.
    let text = fs::read_to_string(&path).expect("readable");
    assert_eq!(text.len(), 65);
    assert_eq!(ring(&text), *made);
    // What was found stays, and is shared by clones.
    fs::remove_file(&path).expect("removed");
    assert_eq!(source.clone().keyring(None).expect("remembered"), made);
}

#[test]
fn racing_makers_agree_on_one_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = key_file(&folder);
    let barrier = std::sync::Barrier::new(8);
    let rings: Vec<_> = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    KeySource::file(&path).keyring(None).expect("made or read")
                })
            })
            .collect();
        makers.into_iter().map(|maker| maker.join().expect("no panic")).collect()
    });
    assert!(rings.iter().all(|ring| *ring == rings[0]));
    assert_eq!(fs::read_dir(path.parent().expect("a folder")).expect("readable").count(), 1);
}

#[test]
fn a_file_that_others_can_read_is_refused_with_the_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = key_file(&folder);
    KeySource::file(&path).keyring(None).expect("made");
    for open in [0o640, 0o604, 0o620, 0o601] {
        fs::set_permissions(&path, Permissions::from_mode(open)).expect("changed");
        let error = KeySource::file(&path).keyring(None).expect_err("open to others");
        assert_eq!(error.kind(), ErrorKind::Untrusted);
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("changed");
    for text in ["", "too short"] {
        fs::write(&path, text).expect("written");
        let error = KeySource::file(&path).keyring(None).expect_err("damaged");
        assert!(error.cause().contains("empty or damaged"), "{error}");
    }
    assert_eq!(fs::read_to_string(&path).expect("readable"), "too short");
}

#[test]
fn a_link_a_folder_and_an_open_folder_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = key_file(&folder);
    KeySource::file(&path).keyring(None).expect("made");
    let link = folder.path().join("link");
    symlink(&path, &link).expect("linked");
    let error = KeySource::file(&link).keyring(None).expect_err("a link");
    assert!(error.cause().contains("symbolic link"), "{error}");
    let error = KeySource::file(folder.path()).keyring(None).expect_err("a folder");
    assert!(error.cause().contains("not a regular file"), "{error}");
    let open = folder.path().join("open");
    fs::create_dir(&open).expect("made");
    fs::set_permissions(&open, Permissions::from_mode(0o777)).expect("changed");
    let error = KeySource::file(open.join("signing.key")).keyring(None).expect_err("open");
    assert!(error.cause().contains("others can write"), "{error}");
    assert_eq!(fs::read_dir(&open).expect("readable").count(), 0);
}

#[test]
fn a_file_of_another_user_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut path = key_file(&folder);
    if rustix::process::geteuid().is_root() {
        KeySource::file(&path).keyring(None).expect("made");
        std::os::unix::fs::chown(&path, Some(65_534), None).expect("given away");
    } else {
        path = PathBuf::from("/etc/passwd");
    }
    let error = KeySource::file(&path).keyring(None).expect_err("not ours");
    assert!(error.cause().contains("another user"), "{error}");
}

#[test]
fn a_store_with_a_known_key_never_gets_a_new_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = key_file(&folder);
    let known = ring(SECRET).first().fingerprint();
    let error = KeySource::file(&path).keyring(Some(&known)).expect_err("not here");
    assert_eq!(error.kind(), ErrorKind::Untrusted);
    let told = error.to_string();
    assert!(told.contains(&known) && told.contains("HOLDALL_SIGNING_KEY"), "{told}");
    assert!(!folder.path().join("share").exists());
    let other = KeySource::text("some other secret").expect("long enough");
    assert!(other.keyring(Some(&known)).is_err());
    KeySource::text(SECRET).expect("long enough").keyring(Some(&known)).expect("the store's key");
}

/// Where the keys are with these variables, this `.env` and the home `/home/ann`.
fn place(pairs: &[(&str, &str)], dotenv: &str, home: Option<&str>) -> Result<Place> {
    let lookup =
        |name: &str| pairs.iter().find(|pair| pair.0 == name).map(|pair| OsString::from(pair.1));
    discover(&lookup, &|| Ok(DotEnv::parse(dotenv)), home.map(Path::new))
}

#[test]
fn the_environment_comes_first_then_the_file_env_then_the_users_file() {
    let dotenv = "HOLDALL_SIGNING_KEY=the secret of the file # a comment\n";
    let quoted = "HOLDALL_SIGNING_KEY='the secret of the file' # a comment\n";
    let from = |pairs: &[(&str, &str)], dotenv: &str| match place(pairs, dotenv, Some("/home/ann"))
    {
        Ok(Place::Here(found)) => found,
        Ok(Place::File(path)) => panic!("a file: {}", path.display()),
        Err(error) => panic!("{error}"),
    };
    let environment = [("HOLDALL_SIGNING_KEY", SECRET), ("XDG_DATA_HOME", "/data")];
    assert_eq!(from(&environment, quoted), ring(SECRET));
    assert_eq!(from(&[], quoted), ring("the secret of the file"));
    let error = place(&[], dotenv, None).err().expect("spaces without quotes");
    assert!(!error.to_string().contains("secret of"), "{error}");
    for (pairs, home, expected) in [
        (&[("XDG_DATA_HOME", "/data")][..], None, Some("/data/holdall/signing.key")),
        (&[("XDG_DATA_HOME", "data")], Some("/h"), Some("/h/.local/share/holdall/signing.key")),
        (&[], Some("/h"), Some("/h/.local/share/holdall/signing.key")),
        (&[], None, None),
    ] {
        match (place(pairs, "", home), expected) {
            (Ok(Place::File(path)), Some(expected)) => assert_eq!(path, Path::new(expected)),
            (Err(error), None) => assert!(error.to_string().contains("HOLDALL_SIGNING_KEY")),
            _ => panic!("another place"),
        }
    }
}

#[test]
fn a_bad_signing_key_variable_is_named_without_its_value() {
    for bad in ["", " ", "tooshort"] {
        let error = place(&[("HOLDALL_SIGNING_KEY", bad)], "", Some("/h")).err().expect("bad");
        let told = error.to_string();
        assert!(told.starts_with("HOLDALL_SIGNING_KEY (from the environment) is empty"), "{told}");
        assert!(!told.contains("tooshort"));
    }
    let error = place(&[], "A=1\nHOLDALL_SIGNING_KEY=tooshort", None).err().expect("bad");
    assert!(
        error.to_string().contains("line 2 of .env") && !error.to_string().contains("tooshort")
    );
}

proptest! {
    #[test]
    fn the_parts_of_a_payload_do_not_matter(parts in prop::collection::vec(any::<Vec<u8>>(), 0..5)) {
        let ring = ring(SECRET);
        let tag = ring.sign(STORE, "pickle", "k", parts.iter().map(Vec::as_slice));
        verdict(&ring, STORE, "pickle", "k", &parts.concat(), &tag).expect("the same payload");
    }

    #[test]
    fn any_payload_and_trailer_split_again(payload: Vec<u8>, key_id: [u8; 8], mac: [u8; 32]) {
        let tag = Tag { key_id, mac };
        let file = [&payload[..], &trailer::append(&tag)].concat();
        prop_assert_eq!(trailer::split(&file), (&payload[..], Some(tag)));
        prop_assert_eq!(trailer::split(&payload).1, None);
    }
}
