"""What is small on the disk and large in memory is refused before the memory is taken."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

import holdall
import programs
from holdall import sync

MIB = 1 << 20

MEASURED = """
    import json, resource, sys
    from holdall import sync

    folder, limit, trust, *keys = sys.argv[1:]
    options = {"trust": trust}
    if limit != "none":
        options["max_value_bytes"] = int(limit)
    blobs = sync.BlobManager(folder, **options)
    for key in ("warm", "bytes", "array", "seen"):
        # Whatever has to be imported is.
        blobs.load(key)

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

    before, outcomes = peak(), {}
    for key in keys:
        try:
            outcomes[key] = f"loaded {len(blobs.load(key))}"
        except Exception as error:
            outcomes[key] = type(error).__name__
            assert len(str(error)) < 600
    print(json.dumps([outcomes, peak() - before]))
    """


def measured(
    store: Path, files: dict[str, bytes], suffix: str, limit: int | None, trust: str = "own"
) -> tuple[dict[str, str], int]:
    """What loads of the files say in a process of its own, and how far its memory grew, bytes."""
    keys = {f"bomb/{number}": name for number, name in enumerate(files)}
    (store / "bomb").mkdir(exist_ok=True)
    for key, name in keys.items():
        (store / f"{key}.{suffix}").write_bytes(files[name])
    said = programs.run(MEASURED, store, "none" if limit is None else limit, trust, *keys)
    outcomes, grown = json.loads(said)
    return {keys[key]: outcome for key, outcome in outcomes.items()}, grown


@pytest.fixture
def store(tmp_path):
    """A store in which files of all suffixes are known."""
    import numpy

    for compression in ("zstd", "lz4", None):
        with sync.BlobManager(tmp_path / "store", compression=compression) as blobs:
            blobs.save("warm", "x" * 5_000)
            blobs.save("bytes", bytes(5_000))
            blobs.save("array", numpy.zeros(5_000))
            blobs.save("seen", [0] * 5_000)
            blobs.save("joblib", [0] * 5_000, "joblib")
    return tmp_path / "store"


def zstd_frame(size: int, declared: int | None, window: int | None = None) -> bytes:
    """A frame of zeros, whatever its header says: a byte and a length for each 128 KiB."""
    blocks = []
    left = size
    while left:
        block = min(left, 128 << 10)
        left -= block
        blocks.append(((block << 3) | (1 << 1) | (left == 0)).to_bytes(3, "little") + b"\0")
    if declared is None:
        assert window is not None
        header = bytes([0, (window - 10) << 3])
    else:
        header = b"\xe0" + struct.pack("<Q", declared)
    return b"\x28\xb5\x2f\xfd" + header + b"".join(blocks)


def skippable(size: int) -> bytes:
    return struct.pack("<II", 0x184D2A50, size) + bytes(size)


GIB = 1 << 30
FRAMES = {
    "declared": zstd_frame(GIB, GIB),
    "declared too small": zstd_frame(GIB, 10),
    "declared terabytes": zstd_frame(1_000, 1 << 42),
    "not declared": zstd_frame(GIB, None, window=20),
    "a window of 2 GiB": zstd_frame(1_000, None, window=31),
    "many frames": zstd_frame(4 * MIB, 4 * MIB) * 256,
    "behind a skipped one": skippable(100) + zstd_frame(GIB, GIB),
    "many skipped ones": skippable(0) * 50_000 + zstd_frame(GIB, GIB),
}


@pytest.mark.parametrize("limit", [None, MIB])
def test_a_strangers_frames_take_no_more_than_is_allowed(store, limit):
    outcomes, grown = measured(store, FRAMES, "bin.zst", limit)
    assert set(outcomes.values()) <= {"InvalidArgumentError", "BlobCorruptError"}, outcomes
    assert list(outcomes) == list(FRAMES)
    # Plus what the decoder needs for itself.
    assert grown < (256 if limit is None else 1) * MIB + 32 * MIB, f"{grown / MIB:.0f} MiB"


def test_an_lz4_bomb_takes_no_more_than_is_allowed(store, tmp_path):
    with sync.BlobManager(tmp_path / "made", compression="lz4") as blobs:
        blobs.save("bomb", bytes(400 * MIB))
    content = (tmp_path / "made/bomb.bin.lz4").read_bytes()
    for limit in (None, MIB):
        outcomes, grown = measured(store, {"lz4": content}, "bin.lz4", limit)
        assert outcomes == {"lz4": "InvalidArgumentError"}
        assert grown < ((256 if limit is None else 1) + 32) * MIB + 3 * len(content)


def npy(shape: str, descr: str = "'<f8'", version: int = 1, padding: int = 0) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}" + " " * padding
    body = text.encode() + b"\n"
    length = len(body).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + body + bytes(64)


ARRAYS = {
    "terabytes": npy("(1099511627776,)"),
    "more than an address": npy("(9223372036854775807, 9223372036854775807)"),
    "negative": npy("(-1,)"),
    "many axes": npy("(" + "1," * 100 + ")"),
    "no shape": npy("None"),
    "a long header": npy("(1,)", version=2, padding=50 * MIB),
    "a header longer than the file": b"\x93NUMPY\x02\x00\xff\xff\xff\x7f{",
    "a deep type": npy("(1,)", "[" * 5_000 + "('a', 'i1')" + "]" * 5_000, version=2),
    "a long type": npy("(1,)", "'V2147483647'"),
    "a type of many": npy("(1,)", "[('a', '<f8', (1000000, 1000000))]"),
    "nothing of each": npy("(1099511627776,)", "'V0'"),
    "nothing of many": npy("(1048576, 1048576)", "'<U0'"),
    "objects": npy("(1,)", "'|O'"),
    "a name": npy("(open('ran', 'w'),)"),
}


def test_an_array_that_claims_more_than_there_is_takes_nothing(store):
    outcomes, grown = measured(store, ARRAYS, "npy", None)
    assert outcomes == dict.fromkeys(ARRAYS, "DeserializationError")
    assert grown < 64 * MIB + 3 * max(map(len, ARRAYS.values()))
    with sync.BlobManager(store) as blobs:
        for number in range(len(ARRAYS)):
            with pytest.raises(holdall.HoldallError):
                blobs.load(f"bomb/{number}", mmap=True)


@pytest.mark.parametrize("format", ["joblib", "pickle"])
def test_a_trusted_file_that_claims_more_than_there_is_takes_nothing(store, format):
    import io
    import pickle

    import joblib
    import numpy

    if format == "joblib":
        out = io.BytesIO()
        joblib.dump(numpy.zeros(7_777), out)
        content = out.getvalue().replace((7_777).to_bytes(2, "little"), b"\xff\xff")
        assert content != out.getvalue()
    else:
        # The length of a text that is not there.
        content = b"\x80\x04\x8e" + (1 << 42).to_bytes(8, "little") + b"x."
        with pytest.raises((pickle.UnpicklingError, MemoryError)):
            pickle.loads(content)
    suffix = "joblib" if format == "joblib" else "pkl"
    outcomes, grown = measured(store, {"it": content}, suffix, None, "any")
    assert outcomes["it"] in ("DeserializationError", "MemoryError")
    assert grown < 64 * MIB
    assert measured(store, {"it": content}, suffix, None)[0] == {"it": "UntrustedPayloadError"}


def deep_pickle(depth: int) -> bytes:
    return b"\x80\x04" + b"]" * depth + b"a" * (depth - 1) + b"."


DEEP_JSON = {
    "lists": b"[" * 100_000 + b"]" * 100_000,
    "objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "never closed": b"[" * 10_000_000,
}
DEEP_PICKLES = {
    "lists": deep_pickle(100_000),
    "tuples": b"\x80\x04)" + b"\x85" * 100_000 + b".",
    "marks": b"\x80\x04" + b"(" * 1_000_000 + b".",
    "a long integer": b"\x80\x04\x8b\xff\xff\xff\x7f.",
}


@pytest.mark.parametrize("trust", ["own", "any"])
def test_what_is_nested_without_end_ends_no_process(store, trust):
    outcomes, grown = measured(store, DEEP_JSON, "json", None, trust)
    assert set(outcomes.values()) <= {"DeserializationError", "InvalidJSONError"}, outcomes
    assert grown < 200 * MIB
    for path in (store / "bomb").iterdir():
        path.unlink()
    outcomes, grown = measured(store, DEEP_PICKLES, "pkl", None, trust)
    assert grown < 200 * MIB
    if trust == "own":
        assert set(outcomes.values()) == {"UntrustedPayloadError"}


def test_a_value_that_needs_more_memory_than_there_is_is_an_error_and_no_abort(store):
    code = """
        import os, resource, sys
        import holdall
        from holdall import sync
        blobs = sync.BlobManager(sys.argv[1])
        blobs.save("large", os.urandom(1 << 20) * 300)
        blobs.load("warm")
        with open("/proc/self/statm") as file:
            most = int(file.read().split()[0]) * resource.getpagesize() + (200 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        failed = 0
        for call in (
            lambda: blobs.load("large"),
            lambda: blobs.read_range("large", 0, 1 << 40),
            lambda: blobs.copy("large", "other"),
        ):
            try:
                call()
            except (MemoryError, holdall.StorageIOError) as error:
                failed += 1
        assert blobs.load("warm") == "x" * 5_000
        print(failed)
        """
    assert int(programs.run(code, store)) == 3


def test_a_value_of_ours_may_be_as_small_on_the_disk_as_it_likes(tmp_path):
    with sync.BlobManager(tmp_path, compression="zstd") as blobs:
        blobs.save("zeros", bytes(300 * MIB))
        assert (tmp_path / "zeros.bin.zst").stat().st_size < MIB
        assert len(blobs.load("zeros")) == 300 * MIB
    with (
        sync.BlobManager(tmp_path, max_value_bytes=MIB) as blobs,
        pytest.raises(holdall.InvalidArgumentError, match="max_value_bytes"),
    ):
        blobs.load("zeros")


def test_the_zip_that_unpacks_itself_is_bytes(store, corpus):
    content = corpus("zod/42.zip").read_bytes()
    for suffix in ("bin", "npy", "joblib", "pkl", "json", "bin.zst", "bin.lz4"):
        outcomes, grown = measured(store, {"zip": content}, suffix, None)
        assert outcomes["zip"].startswith("loaded") == (suffix == "bin")
        assert grown < 32 * MIB
        (store / f"bomb/0.{suffix}").unlink()
