//! Arrays as NumPy 2.4 and joblib 1.6 pickle them, and what only looks like them.

use holdall::Format;

use super::Pickle;

const ARRAY_4: &[u8] = b"\
    \x80\x04\x95\xa1\0\0\0\0\0\0\0\x8c\x16numpy._core.multiarray\x94\x8c\x0c_reconstruct\x94\
    \x93\x94\x8c\x05numpy\x94\x8c\x07ndarray\x94\x93\x94K\0\x85\x94C\x01b\x94\x87\x94R\x94(K\
    \x01K\x03\x85\x94h\x03\x8c\x05dtype\x94\x93\x94\x8c\x02f8\x94\x89\x88\x87\x94R\x94(K\x03\
    \x8c\x01<\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0t\x94b\x89C\x18\0\0\0\0\0\0\0\0\0\0\
    \0\0\0\0\xf0?\0\0\0\0\0\0\0@\x94t\x94b.";
const ARRAY_5: &[u8] = b"\
    \x80\x05\x95\x85\0\0\0\0\0\0\0}\x94\x8c\x01a\x94\x8c\x13numpy._core.numeric\x94\x8c\x0b_\
    frombuffer\x94\x93\x94(\x96\x10\0\0\0\0\0\0\0x\0\0\0\0\0\0\0y\0\0\0z\0\0\0\x94\x8c\x05nu\
    mpy\x94\x8c\x05dtype\x94\x93\x94\x8c\x02U2\x94\x89\x88\x87\x94R\x94(K\x03\x8c\x01<\x94NN\
    NK\x08K\x04K\x08t\x94bK\x02\x85\x94\x8c\x01C\x94t\x94R\x94s.";
const NUMBER: &[u8] = b"\
    \x80\x04\x95j\0\0\0\0\0\0\0\x8c\x16numpy._core.multiarray\x94\x8c\x06scalar\x94\x93\x94\
    \x8c\x05numpy\x94\x8c\x05dtype\x94\x93\x94\x8c\x02i8\x94\x89\x88\x87\x94R\x94(K\x03\x8c\
    \x01<\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0t\x94bC\x08\x03\0\0\0\0\0\0\0\x94\x86\
    \x94R\x94.";
const DATES: &[u8] = b"\
    \x80\x04\x95\xa2\0\0\0\0\0\0\0\x8c\x16numpy._core.multiarray\x94\x8c\x0c_reconstruct\x94\
    \x93\x94\x8c\x05numpy\x94\x8c\x07ndarray\x94\x93\x94K\0\x85\x94C\x01b\x94\x87\x94R\x94(K\
    \x01K\x01\x85\x94h\x03\x8c\x05dtype\x94\x93\x94\x8c\x02M8\x94\x89\x88\x87\x94R\x94(K\x04\
    \x8c\x01<\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0N(C\x02ns\x94K\x01K\x01K\x01t\x94\
    \x86\x94t\x94b\x89C\x08\0\0W\xc0~h\x16\x18\x94t\x94b.";
const JOBLIB: &[u8] = b"\
    \x80\x04\x95\xd8\0\0\0\0\0\0\0}\x94(\x8c\x01a\x94\x8c\x13joblib.numpy_pickle\x94\x8c\x11\
    NumpyArrayWrapper\x94\x93\x94)\x81\x94}\x94(\x8c\x08subclass\x94\x8c\x05numpy\x94\x8c\
    \x07ndarray\x94\x93\x94\x8c\x05shape\x94K\x03\x85\x94\x8c\x05order\x94\x8c\x01C\x94\x8c\
    \x05dtype\x94h\x08\x8c\x05dtype\x94\x93\x94\x8c\x02f8\x94\x89\x88\x87\x94R\x94(K\x03\x8c\
    \x01<\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0t\x94b\x8c\x0aallow_mmap\x94\x88\x8c\
    \x1bnumpy_array_alignment_bytes\x94K\x10ub\x0c\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\
    \xff\xff\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xf0?\0\0\0\0\0\0\0@\x95C\0\0\0\0\0\0\0\x8c\x01b\x94\
    h\x04)\x81\x94}\x94(h\x07h\x0ah\x0bK\x01\x85\x94h\x0dh\x0eh\x0fh\x11\x8c\x02U1\x94\x89\
    \x88\x87\x94R\x94(K\x03h\x15NNNK\x04K\x04K\x08t\x94bh\x17\x88h\x18K\x10ub\x0b\xff\xff\
    \xff\xff\xff\xff\xff\xff\xff\xff\xffx\0\0\0u.";
const OBJECTS: &[u8] = b"\
    \x80\x04\x95\xa8\0\0\0\0\0\0\0\x8c\x16numpy._core.multiarray\x94\x8c\x0c_reconstruct\x94\
    \x93\x94\x8c\x05numpy\x94\x8c\x07ndarray\x94\x93\x94K\0\x85\x94C\x01b\x94\x87\x94R\x94(K\
    \x01K\x01\x85\x94h\x03\x8c\x05dtype\x94\x93\x94\x8c\x02O8\x94\x89\x88\x87\x94R\x94(K\x03\
    \x8c\x01|\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?t\x94b\x89]\x94\x8c\x08datetime\x94\
    \x8c\x04date\x94\x93\x94C\x04\x07\xea\x01\x01\x94\x85\x94R\x94at\x94b.";
const OBJECTS_JOBLIB: &[u8] = b"\
    \x80\x04\x95\xd1\0\0\0\0\0\0\0\x8c\x13joblib.numpy_pickle\x94\x8c\x11NumpyArrayWrapper\
    \x94\x93\x94)\x81\x94}\x94(\x8c\x08subclass\x94\x8c\x05numpy\x94\x8c\x07ndarray\x94\x93\
    \x94\x8c\x05shape\x94K\x02\x85\x94\x8c\x05order\x94\x8c\x01C\x94\x8c\x05dtype\x94h\x06\
    \x8c\x05dtype\x94\x93\x94\x8c\x02O8\x94\x89\x88\x87\x94R\x94(K\x03\x8c\x01|\x94NNNJ\xff\
    \xff\xff\xffJ\xff\xff\xff\xffK?t\x94b\x8c\x0aallow_mmap\x94\x89\x8c\x1bnumpy_array_align\
    ment_bytes\x94K\x10ub\x80\x05\x95\x8d\0\0\0\0\0\0\0\x8c\x16numpy._core.multiarray\x94\
    \x8c\x0c_reconstruct\x94\x93\x94\x8c\x05numpy\x94\x8c\x07ndarray\x94\x93\x94K\0\x85\x94C\
    \x01b\x94\x87\x94R\x94(K\x01K\x02\x85\x94h\x03\x8c\x05dtype\x94\x93\x94\x8c\x02O8\x94\
    \x89\x88\x87\x94R\x94(K\x03\x8c\x01|\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?t\x94b\
    \x89]\x94(K\x01Net\x94b..";

fn is_data(bytes: &[u8], format: Format) -> bool {
    Pickle::read(bytes).is_data(format)
}

/// The bytes with one part replaced, which is there.
fn with(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let at = bytes.windows(old.len()).position(|part| part == old).expect("it is there");
    [&bytes[..at], new, &bytes[at + old.len()..]].concat()
}

#[test]
fn arrays_of_numbers_and_texts_are_data() {
    for bytes in [ARRAY_4, ARRAY_5, NUMBER, DATES] {
        assert!(is_data(bytes, Format::Pickle), "{}", Pickle::read(bytes).holds);
        assert!(!Pickle::read(bytes).is_plain());
    }
    assert!(is_data(JOBLIB, Format::Joblib));
    // The names that NumPy 1 gave them.
    let older = with(ARRAY_4, b"numpy._core", b"numpy.core");
    let older = with(&older, b"\x8c\x16", b"\x8c\x15");
    assert!(is_data(&with(&older, b"\x95\xa1", b"\x95\xa0"), Format::Pickle));
}

#[test]
fn arrays_of_objects_are_none() {
    assert!(!is_data(OBJECTS, Format::Pickle));
    assert!(!is_data(OBJECTS_JOBLIB, Format::Joblib));
}

#[test]
fn what_only_looks_like_an_array_is_none() {
    let changed: [(&[u8], &[u8], &[u8]); 13] = [
        (ARRAY_4, b"_reconstruct", b"_reconstrucT"),
        // A type of objects, of another width, and with the flags of one.
        (ARRAY_4, b"f8", b"O8"),
        (ARRAY_4, b"f8", b"f4"),
        (ARRAY_4, b"K\0t", b"K\x3ft"),
        // Another length than there are bytes, and another class.
        (ARRAY_4, b"K\x03\x85", b"K\x04\x85"),
        (ARRAY_4, b"\x8c\x05numpy\x94\x8c\x07ndarray", b"\x8c\x05posix\x94\x8c\x07ndarray"),
        (ARRAY_5, b"K\x02\x85", b"K\x7f\x85"),
        (NUMBER, b"i8", b"i4"),
        // Dates without a unit, with notes, with a class among the factors, and of another type.
        (DATES, b"K\x01K\x01K\x01t", b"K\x01K\x01t"),
        (DATES, b"N(C\x02ns", b"\x88(C\x02ns"),
        (DATES, b"K\x01K\x01K\x01t", b"K\x01h\x05K\x01t"),
        (DATES, b"M8", b"f8"),
        // A call in place of a state.
        (NUMBER, b"\x86\x94R", b"\x86\x94b"),
    ];
    for (bytes, old, new) in changed {
        assert!(!is_data(&with(bytes, old, new), Format::Pickle), "{}", new.escape_ascii());
    }
}

#[test]
fn bytes_that_another_reader_takes_for_opcodes_are_none() {
    // Who reads a pickle runs on where joblib finds the bytes of an array.
    assert!(!is_data(JOBLIB, Format::Pickle));
    // joblib finds them behind the frame, in which opcodes could hide.
    assert!(!is_data(&with(JOBLIB, b"\x95\xd8", b"\x95\xd9"), Format::Joblib));
    assert!(!is_data(&with(JOBLIB, b"\x95\xd8", b"\x95\x18"), Format::Joblib));
    // Of two fields of one name, the last one counts.
    let twice = with(JOBLIB, b"allow_mmap", b"\x08subclass");
    assert!(!is_data(&twice, Format::Joblib));
    assert!(!is_data(&with(JOBLIB, b"\x8c\x05shape", b"\x8c\x05other"), Format::Joblib));
}
