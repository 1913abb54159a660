"""The keys of a run: the same for the writer and the verifier."""

from __future__ import annotations

import os

DISK, PROCESS = "d", "p"  # first letters: which durability a key is saved with
SHAPES = ("{}{}", "{}/deep/er/{}", "{}x/{}/v", "{}%{}")


def place(folder):
    """The store, of which nothing is there at first."""
    return os.path.join(folder, "made", "store")


def plain(count, durability):
    """Keys in several folders, some of them folders of their own."""
    letters = {"disk": DISK, "process": PROCESS, "both": DISK + PROCESS}[durability]
    return [
        SHAPES[n // len(letters) % len(SHAPES)].format(letters[n % len(letters)], n)
        for n in range(count)
    ]


def pair(worker, durability):
    """Two keys between which one worker renames a value."""
    letter = PROCESS if durability == "process" else DISK
    return f"{letter}move/{worker}/a", f"{letter}move/{worker}/b"


def family(key):
    """What a value carries as its key: it stays the same when the value is renamed."""
    return key.rpartition("/")[0] if key[1:].startswith("move/") else key


def durability(key):
    return "disk" if key.startswith(DISK) else "process"
