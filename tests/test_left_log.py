"""The log of inline values that a killed process has left, and damage to it."""

from __future__ import annotations

import shutil

import pytest

import programs
from holdall import BlobCorruptError, sync

OPTIONS = {"inline_below": 2_000}
HEAD, FRAME = 32, 4_120

SAVING = """
    import sys
    from holdall import sync
    blobs = sync.BlobManager(sys.argv[1], inline_below=2_000)
    for number in range(5, 15):
        blobs.save(f"key/{number}", f"newer {number}")
    print("saved", flush=True)
    sys.stdin.read()
    """


def saved(number: int) -> str:
    return f"newer {number}" if number >= 5 else f"older {number}"


@pytest.fixture
def left(tmp_path):
    """A store whose process was killed after it had replaced some values, and saved new ones."""
    folder = tmp_path / "store"
    with sync.BlobManager(folder, **OPTIONS) as blobs:
        blobs.save_many({f"key/{number}": f"older {number}" for number in range(10)})
    with programs.running(SAVING, folder) as program:
        assert program.line() == "saved"
        program.kill()
    return folder


def log_of(folder):
    return folder / ".holdall" / "inline" / "values.sqlite-wal"


def loaded(folder):
    with sync.BlobManager(folder, **OPTIONS) as blobs:
        return {key: blobs.load(key) for key in blobs.keys()}


def test_one_flipped_bit_of_a_log_that_was_left_costs_no_value(left, tmp_path):
    whole = log_of(left).read_bytes()
    frames = (len(whole) - HEAD) // FRAME
    assert frames > 15
    expected = {f"key/{number}": saved(number) for number in range(15)}
    places = [3, 17, 26, *(HEAD + frame * FRAME + frame * 173 for frame in range(frames))]
    for number, place in enumerate(places):
        folder = tmp_path / f"copy {number}"
        shutil.copytree(left, folder)
        with open(log_of(folder), "r+b") as log:
            log.seek(place)
            log.write(bytes([whole[place] ^ 1 << number % 8]))
        assert loaded(folder) == expected, place
        with sync.BlobManager(folder, **OPTIONS) as blobs:
            assert not blobs.verify().problems


@pytest.mark.parametrize("harm", ["bits", "sector", "cut", "emptied"])
def test_other_damage_of_a_log_is_an_error_until_it_is_repaired_and_costs_no_older_value(
    left, harm
):
    middle = HEAD + FRAME * 8
    with open(log_of(left), "r+b") as log:
        if harm in ("cut", "emptied"):
            log.truncate(middle if harm == "cut" else 0)
        else:
            log.seek(middle + 100)
            content = bytearray(log.read(1_000))
            content[:: 999 if harm == "bits" else 1] = b"\xff" * (2 if harm == "bits" else 1_000)
            log.seek(middle + 100)
            log.write(content)
    harmed = log_of(left).read_bytes()
    with sync.BlobManager(left, **OPTIONS) as blobs:
        for number in (0, 7, 14):
            with pytest.raises(BlobCorruptError, match="run repair"):
                blobs.load(f"key/{number}")
        assert [problem.kind for problem in blobs.verify().problems] == ["inline_database_damaged"]
        report = blobs.repair()
        assert [each.problem.kind for each in report.quarantined] == ["inline_database_damaged"]
        assert not blobs.verify().problems
        for number in range(10):
            assert blobs.load(f"key/{number}") in (f"older {number}", saved(number))
        blobs.save("key/14", "again")
        assert blobs.load("key/14") == "again"
    kept = (left / ".holdall" / "quarantine").glob("*/values.sqlite-wal")
    assert [path.read_bytes() for path in kept] == ([] if harm == "emptied" else [harmed])


def test_a_copy_of_a_log_that_was_cut_is_taken_as_after_a_power_cut(left, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(left, folder)
    with open(log_of(folder), "r+b") as log:
        log.truncate(HEAD + FRAME * 8)
    found = loaded(folder)
    assert {f"key/{number}" for number in range(10)} <= found.keys()
    with sync.BlobManager(folder, **OPTIONS) as blobs:
        assert not blobs.verify().problems


def test_a_closed_store_has_neither_a_log_nor_notes_of_one(left):
    assert log_of(left).with_name("values.sqlite-notes").stat().st_mode & 0o777 == 0o600
    assert len(loaded(left)) == 15
    names = {path.name for path in log_of(left).parent.iterdir()}
    assert names == {"values.sqlite", "writers.lock", "reserve"}
