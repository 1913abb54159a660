"""Files as other programs write them, old and broken ones too: a value, or a typed error."""

from __future__ import annotations

import io
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import joblib
import numpy as np
import pytest

import holdall
from holdall import sync

SUFFIXES = ("json", "txt", "bin", "npy", "pkl", "joblib", "json.zst", "bin.lz4")


@pytest.fixture
def blobs(tmp_path):
    """A store in which files of all suffixes are known."""
    base = tmp_path / "store"
    with (
        sync.BlobManager(base, compression="zstd") as packed,
        sync.BlobManager(base, compression="lz4") as packed_too,
    ):
        packed.save("packed", ["x"] * 1_000)
        packed.save("packed bytes", bytes(1_000))
        packed_too.save("packed too", bytes(1_000))
    with sync.BlobManager(base) as manager:
        manager.save("other", 1)
        yield manager


def outcomes(
    blobs: sync.BlobManager,
    contents: Iterable[bytes],
    suffixes: Iterable[str] = SUFFIXES,
    load: Callable[[], object] | None = None,
) -> Counter[str]:
    """What loads say of each content under each suffix."""
    found: Counter[str] = Counter()
    suffixes = list(suffixes)
    for content in contents:
        for suffix in suffixes:
            path = blobs.base_path / f"k.{suffix}"
            path.write_bytes(content)
            began = time.monotonic()
            try:
                (load or (lambda: blobs.load("k")))()
                found["ok"] += 1
            except holdall.HoldallError as error:
                found[type(error).__name__] += 1
                assert len(str(error)) < 1_000
            assert time.monotonic() - began < 10
            path.unlink()
    assert blobs.load("other") == 1
    assert set(blobs.keys()) >= {"other", "packed", "packed too"}
    return found


TEXTS = [
    *(
        b"",
        b" ",
        b"null",
        b"nul",
        b"[",
        b"]",
        b"[1,]",
        b"{",
        b'{"a":1,}',
        b"{1:2}",
        b"'a'",
        b"[1 2]",
    ),
    *(
        b"NaN",
        b"-Infinity",
        b"1e400",
        b"-1e400",
        b"1e-400",
        b"0x1",
        b"01",
        b"1.",
        b".1",
        b"+1",
        b"-",
    ),
    *(b'"\\ud800"', b'"\xff"', b'"\xed\xa0\x80"', b'"\xc0\xaf"', b'"a\x00b"', b'"\n"', b'"\\x"'),
    *(b"\xef\xbb\xbf1", b"\xff\xfe1\x00", b"1\x00", b"1 2", b"{}[]", b"/*a*/1", b"1//", b"[1]\x0c"),
    *(b'{"a":1,"a":2}', b'{"":0}', b'{"__class__":"os.system"}', b'{"$ref":"x"}', b"[" * 500),
    *(
        b"9" * 4_299,
        b"9" * 4_301,
        b"1" + b"0" * 100_000,
        b"0." + b"1" * 100_000,
        b"1e" + b"9" * 5_000,
    ),
]


def test_text_is_json_or_an_error(blobs):
    found = outcomes(blobs, TEXTS, ["json"])
    assert set(found) <= {"ok", "InvalidJSONError", "DeserializationError"}
    assert found["InvalidJSONError"] > 20


def test_a_name_that_comes_twice_in_a_strangers_json_is_read_as_others_read_it(blobs):
    (blobs.base_path / "k.json").write_text('{"a": 1, "a": 2}')
    assert blobs.load("k") == json.loads('{"a": 1, "a": 2}') == {"a": 2}


def test_what_is_of_another_format_than_its_suffix_says_is_an_error(blobs):
    array, packed = io.BytesIO(), io.BytesIO()
    np.save(array, np.arange(3))
    np.savez_compressed(packed, a=np.arange(3))
    for content, suffix in ((array, "npy"), (packed, "npz")):
        wrong = [one for one in SUFFIXES if one not in ("bin", suffix)]
        found = outcomes(blobs, [content.getvalue()], wrong)
        assert not found["ok"], suffix
    found = outcomes(blobs, [b"\x80\x04N.", b"\x80\x04K\x01."], ["json", "npy"])
    assert not found["ok"]


def shipped(package: object, *below: str) -> list[Path]:
    """The test data that a package brings along."""
    folder = Path(str(package.__file__)).parent.joinpath(*below)
    return sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []


def test_old_joblib_files_are_refused_unread_and_end_no_process_where_they_are_trusted(blobs):
    files = [path for path in shipped(joblib, "test", "data") if path.suffix != ".py"]
    if not files:
        pytest.skip("this joblib brings no old files along")
    contents = [path.read_bytes() for path in files]
    found = outcomes(blobs, contents, ["pkl", "joblib"])
    assert found == {"UntrustedPayloadError": 2 * len(files)}
    trusting = sync.BlobManager(blobs.base_path, trust="any")
    found = outcomes(blobs, contents, ["joblib"], lambda: trusting.load("k"))
    # Old releases put arrays into files of their own, which are not there.
    assert set(found) <= {"ok", "DeserializationError"}
    assert found["ok"] > 10


def test_old_numpy_files_are_refused_but_for_plain_arrays(blobs):
    files = shipped(np, "lib", "tests", "data") + shipped(np, "_core", "tests", "data")
    files = [path for path in files if path.suffix in (".npy", ".npz", ".pkl")]
    if not files:
        pytest.skip("this numpy brings no old files along")
    found = outcomes(blobs, [path.read_bytes() for path in files], ["npy", "pkl", "joblib"])
    assert found["UntrustedPayloadError"] == 2 * len(files)
    plain = sum(path.name == "win64python2.npy" for path in files)
    assert found["DeserializationError"] == len(files) - plain


# -- files of other projects ----------------------------------------------------------------------


def test_the_suite_for_json_parsers(blobs, corpus):
    """`y_` is read as Python reads it; `n_` is not, but for what Python's own parser takes too."""
    files = sorted(corpus("json/test_parsing").glob("*.json"))
    assert len(files) > 300
    for path in files:
        (blobs.base_path / "k.json").write_bytes(path.read_bytes())
        try:
            value = blobs.load("k")
            is_read = True
            assert repr(value) == repr(json.loads(path.read_bytes())), path.name
        except holdall.DeserializationError:
            is_read = False
        if path.name.startswith("y_"):
            assert is_read, path.name
        if path.name.startswith("n_") and is_read:
            assert path.name in (
                "n_number_NaN.json",
                "n_number_infinity.json",
                "n_number_minus_infinity.json",
            ), path.name


def test_malicious_pickles_run_nothing_wherever_they_lie(blobs, corpus, monkeypatch, tmp_path):
    files = [path for path in corpus("picklescan/tests").rglob("*") if path.is_file()]
    files = [path for path in files if path.suffix not in (".py", ".md", ".txt")]
    assert len(files) > 90
    # Whatever one of them would call.
    for name in ("system", "popen", "execv", "remove", "rmdir"):
        monkeypatch.setattr(os, name, lambda *_, name=name: pytest.fail(f"os.{name} was called"))
    before = set(tmp_path.rglob("*"))
    found = outcomes(blobs, [path.read_bytes() for path in files])
    assert found["UntrustedPayloadError"] == 2 * len(files)
    after = {path for path in tmp_path.rglob("*") if ".holdall" not in path.parts}
    assert after <= before


def test_the_golden_errors_of_zstandard(blobs, corpus):
    bad = sorted(corpus("zstd/tests/golden-decompression-errors").glob("*.zst"))
    good = sorted(corpus("zstd/tests/golden-decompression").glob("*.zst"))
    assert bad and good
    assert outcomes(blobs, [path.read_bytes() for path in bad], ["bin.zst"]) == {
        "BlobCorruptError": len(bad)
    }
    assert outcomes(blobs, [path.read_bytes() for path in good], ["bin.zst"]) == {"ok": len(good)}
