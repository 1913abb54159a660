"""Every text is a key of its own, or refused before anything is touched; none leaves the folder."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

import holdall
from holdall import sync

REFUSED = ["", "\0", "a\0", "\ud800", "a\udfffb", "x" * 65_537]
PAIRS = [
    ("Key", "key"),
    ("café", unicodedata.normalize("NFD", "café")),
    ("a/b", "a_b"),
    ("a%2Fb", "a//b"),
    ("k", "k "),
    ("a", "a.json"),
    ("a", "a.meta"),
    ("p", "p/q"),
    ("x", "./x"),
    ("x", "x/"),
    ("x", "x/."),
    ("K", "\u212a"),
    ("i", "\u0131"),
    ("ss", "ß"),
    ("a" * 5_000 + "b", "a" * 5_000 + "c"),
    ("é" * 2_500 + "b", "é" * 2_500 + "c"),
    ("con", "%63on"),
    ("k.json", "k.json.zst"),
    ("store", ".holdall/store"),
]
LONE = [
    ".",
    "..",
    "../x",
    "/abs",
    "a/../../x",
    "..\\x",
    "%2e%2e%2f",
    "%2E%2E",
    "-rf",
    ".git",
    "NUL",
    "NUL.txt",
    "k.",
    "*",
    "?",
    "{{7*7}}",
    "%s%n",
    "\u202etxt.exe",
    "a\nb",
    "\r\n",
    "\t",
    "\x7f",
    "\x1b[31m",
    "~root",
    "$(id)",
    "';--",
    "index.json",
    ".lock",
    "victim.tmp",
    "store.json",
    "clock",
    "tmp/x",
    ".holdall",
    ".holdall/clock",
    ".holdall/tmp/x",
    "n" * 300,
    "日" * 100,
    "😀" * 70,
    "/" * 500,
    "." * 500,
    "%" * 500,
    "👩\u200d👩\u200d👧",
    "\ufeff",
    "\uffff",
    "\U0010ffff",
    "a" * 65_536,
]


def generated() -> list[str]:
    """One key for each character that means something somewhere, alone and in company."""
    marks = [
        chr(code) for code in (*range(1, 0x100), *range(0x2000, 0x2070), *range(0xFFF0, 0xFFFE))
    ]
    return [*marks, *(f"a{mark}b" for mark in marks), *(f"d{mark}/{mark}e" for mark in marks)]


def everything(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if ".holdall" not in path.parts}


def keep_and_find(base: Path, keys: list[str], **options: object) -> None:
    """Each key is saved, listed, loaded by another manager, and deleted, and no other moves."""
    keys = list(dict.fromkeys(keys))
    outer = base.parent
    before = everything(outer)
    with sync.BlobManager(base, **options) as blobs:
        for start in range(0, len(keys), 500):
            blobs.save_many({key: [key] for key in keys[start : start + 500]})
    with sync.BlobManager(base, **options) as blobs:
        assert list(blobs.keys()) == sorted(keys, key=str.encode)
        for key in keys:
            assert blobs.load(key) == [key]
            assert blobs.exists(key)
        for path in everything(outer) - before:
            assert path == base or base in path.parents
            assert path.name.isascii()
        for key in keys[::2]:
            assert blobs.delete(key)
        for number, key in enumerate(keys):
            assert blobs.load(key, default=None) == ([key] if number % 2 else None)
    assert everything(outer) - before >= {base}


@pytest.mark.parametrize("options", [{}, {"inline_below": 4_096}], ids=["files", "inline"])
def test_every_text_is_a_key_of_its_own(tmp_path, options):
    keys = [*LONE, *generated(), *(key for pair in PAIRS for key in pair)]
    keep_and_find(tmp_path / "outer/store", keys, **options)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: ascii(pair[0])[:20])
def test_no_key_is_taken_for_another(tmp_path, pair):
    one, other = pair
    with sync.StorageManager(tmp_path / "store") as storage:
        storage.set(one, "one")
        assert storage.get(other) is None
        storage.set(other, "other")
        storage.delete(one)
        assert storage.get(one) is None
        assert storage.get(other) == "other"
        assert list(storage.blobs.keys()) == [other]


@pytest.mark.parametrize("key", REFUSED, ids=lambda key: ascii(key)[:20])
def test_what_is_no_key_is_a_value_error_of_every_call_and_nothing_is_touched(tmp_path, key):
    base = tmp_path / "store"
    with sync.StorageManager(base) as storage, sync.BlobManager(base) as blobs:
        for call in (
            lambda: blobs.save(key, 1),
            lambda: blobs.save("k", 1) if key == "k" else blobs.load(key),
            lambda: blobs.load(key, default=1),
            lambda: blobs.load_many([key]),
            lambda: blobs.delete(key),
            lambda: blobs.delete_many([key]),
            lambda: blobs.exists(key),
            lambda: blobs.metadata(key),
            lambda: blobs.touch(key, 1),
            lambda: blobs.rename(key, "k"),
            lambda: blobs.rename("k", key),
            lambda: blobs.copy("k", key),
            lambda: blobs.read_range(key, 0, 1),
            lambda: storage.set(key, 1),
            lambda: storage.get(key),
            lambda: storage.get_many([key]),
        ):
            with pytest.raises((holdall.HoldallError, ValueError)) as caught:
                call()
            errors = getattr(caught.value, "errors", {key: caught.value})
            assert all(isinstance(error, ValueError) for error in errors.values())
            assert len(str(caught.value)) < 500
            assert "\0" not in str(caught.value)
    assert not base.exists()


def test_the_big_list_of_naughty_strings(tmp_path, corpus):
    found = json.loads(corpus("blns/blns.json").read_text())
    keys = [key for key in found if key and "\0" not in key]
    assert len(keys) > 500
    keep_and_find(tmp_path / "outer/store", keys)
    with sync.BlobManager(tmp_path / "values") as blobs:
        for number, text in enumerate(found):
            for format in ("json", "string", "pickle"):
                blobs.save(f"{format}/{number}", text, format)
                assert blobs.load(f"{format}/{number}") == text
