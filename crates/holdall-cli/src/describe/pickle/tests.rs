use super::*;

#[test]
fn data_is_told_without_any_import() {
    // pickle.dumps({"a": 1, "b": [1, 2, 3]}, 4)
    let bytes = b"\x80\x04\x95\x18\0\0\0\0\0\0\0}\x94(\x8c\x01a\x94K\x01\x8c\x01b\x94]\x94(K\x01K\x02K\x03eu.";
    let found = Pickle::read(bytes);
    assert_eq!(found.holds, "a dict of 2: \"a\", \"b\"");
    assert_eq!((found.protocol, found.stopped), (4, None));
    assert!(found.classes.is_empty());
}

#[test]
fn what_would_be_called_is_named_and_not_called() {
    let found = Pickle::read(b"cos\nsystem\n(S'true'\ntR.");
    assert_eq!(found.holds, "an object of os.system");
    assert!(found.classes.contains("os.system"));
}

#[test]
fn a_pickle_that_is_cut_or_lies_is_told_as_far_as_it_goes() {
    for bytes in
        [&b""[..], b"\x80", b"\x80\x04", b"R.", b"0", b"e.", b"h\x07.", b"B\xff\xff\xff\xff."]
    {
        assert!(Pickle::read(bytes).stopped.is_some(), "{bytes:?}");
    }
}
