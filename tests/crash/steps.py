"""A writer for `sweep`: every kind of change once, on one thread, in the same order each time."""

from __future__ import annotations

import argparse
import random

from crash import names, values
from crash.harness.serve import say
from holdall import sync

LARGE = 1_500_000  # written by two threads


class Steps:
    """Two managers on one store: one for files, one for inline values."""

    def __init__(self, folder, durability):
        self._open = lambda: sync.BlobManager(folder, durability=durability)
        self.files = self._open()
        self.inline = sync.BlobManager(
            folder, durability=durability, inline_below=9_000, compression="zstd"
        )
        self.durability, self.rng, self.count = durability, random.Random(0), 0
        self.keys = iter(names.plain(12, durability))

    def save(self, manager, key, format="json", size=300):
        seq, value, sha = self._value(key, format, size)
        say("TRY", key, seq, sha)
        encoder = {"custom_encoder": str} if format == "custom_json" else {}
        manager.save(key, value, format, **encoder)
        say("ACK", key, seq, sha)

    def _value(self, key, format, size):
        self.count += 1
        return (
            str(self.count),
            *values.make(names.family(key), str(self.count), format, size, self.rng),
        )

    def save_many(self, manager, keys):
        made = {key: self._value(key, "json", 300) for key in keys}
        for key, (seq, _, sha) in made.items():
            say("TRY", key, seq, sha)
        manager.save_many({key: value for key, (_, value, _) in made.items()}, "json")
        for key, (seq, _, sha) in made.items():
            say("ACK", key, seq, sha)

    def stream(self, key):
        seq, value, sha = self._value(key, "bytes", 20_000)
        say("TRY", key, seq, sha)
        with self.files.open(key, "wb") as out:
            out.write(value)
        say("ACK", key, seq, sha)

    def delete(self, manager, key):
        self.count += 1
        say("TRY", key, self.count, "-")
        manager.delete(key)
        say("ACK", key, self.count, "-")

    def rename(self, source, target):
        self.count += 1
        seq, sha = values.read(names.family(source), self.files.load(source))
        say("TRY", source, self.count, "-")
        say("TRY", target, seq, sha)
        say("MOV", source, target, seq)
        self.files.rename(source, target, overwrite=True)
        say("ACK", target, seq, sha)
        say("ACK", source, self.count, "-")

    def run(self):
        plain, deep, mover, inline, large, streamed, *many = self.keys
        self.save(self.files, plain)
        self.save(self.files, plain)
        for format in ("pickle", "string", "joblib", "npy", "custom_json", "bytes"):
            self.save(self.files, plain, format)
        self.save(self.files, deep, size=5_000)
        self.delete(self.files, deep)
        self.save(self.files, deep)
        self.save(self.inline, inline)
        self.save(self.inline, inline, "pickle")
        self.save(self.inline, inline, "string", size=20_000)  # into a file
        self.save(self.inline, inline)  # and back
        self.delete(self.inline, inline)
        self.save(self.files, mover)
        self.save(self.inline, mover, "bytes")
        self.save(self.files, mover)
        self.save(self.files, large, size=LARGE)
        self.save(self.files, large, "pickle", size=LARGE)
        self.stream(streamed)
        self.stream(streamed)
        self.save_many(self.files, many[:3])
        self.save_many(self.inline, many)
        source, target = names.pair(0, self.durability)
        self.save(self.files, source)
        self.rename(source, target)
        self.save(self.inline, source)
        self.rename(source, target)
        self.files.touch(target, 3_600)
        self.files.close()
        self.inline.close()
        self.save(self._open(), plain)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dir")
    parser.add_argument("--durability", choices=["disk", "process"], default="disk")
    parser.add_argument("--workers", type=int, choices=[1], default=1)
    args = parser.parse_args()
    Steps(names.place(args.dir), args.durability).run()


if __name__ == "__main__":
    main()
