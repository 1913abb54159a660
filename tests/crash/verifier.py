"""Says what a store holds after a crash, and that it can be used; `serve` asks for each state."""

from __future__ import annotations

import argparse

from crash import names, values
from crash.harness.serve import say, serve
from holdall import BlobCorruptError, BlobNotFoundError, HoldallError, sync


def verify(folder, keys):
    folder = names.place(folder)
    store = sync.BlobManager(folder)
    # Before anything is looked for: a miss mends the listing.
    listed = list(store.keys())
    say("LISTED", *listed)
    for key in keys:
        try:
            value = store.load(key)
        except BlobNotFoundError:
            say("MISSING", key)
            continue
        except BlobCorruptError:
            say("CORRUPT", key)
            continue
        except HoldallError as error:
            say("FAILED", key, f"{type(error).__name__}:{error}".replace(" ", "_"))
            continue
        found = values.read(names.family(key), value)
        say("TORN", key) if found is None else say("HAS", key, *found)
    if list(store.keys()) != listed:
        raise AssertionError("looking at values has changed the listing")
    # What a crash has left is in nobody's way.
    for number, manager in enumerate((store, sync.BlobManager(folder, inline_below=9_000))):
        key = f"after/{number}"
        manager.save(key, "the crash")
        if store.load(key) != "the crash" or not store.delete(key) or store.exists(key):
            raise AssertionError("the store cannot be used")
    store.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=12)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--durability", choices=["disk", "process", "both"], default="disk")
    args = parser.parse_args()
    keys = names.plain(args.keys, args.durability)
    for worker in range(args.workers):
        keys += names.pair(worker, args.durability)
    serve(lambda folder: verify(folder, keys))


if __name__ == "__main__":
    main()
