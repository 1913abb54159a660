"""The message of an error says what helps, in words that its reader can use."""

import os
import shutil
import sqlite3

import numpy as np
import pytest

import holdall
from holdall import BlobManager
from pages import seal

SECRET = "a secret that all of these tests sign with"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


@pytest.mark.parametrize("damage", [b"nonsense\n", b"\xff\xfe\n", b"", b"0123456789abcdeX\n"])
async def test_a_damaged_note_of_who_signs_sends_to_repair_and_not_after_keys(folder, damage):
    async with BlobManager(folder, signing_key=SECRET) as blobs:
        await blobs.save_many({"signed": {1}, "other": {2}}, format="pickle")
        await blobs.save("plain", [1])
    (folder / ".holdall/signer").write_bytes(damage)
    async with BlobManager(folder, signing_key=SECRET) as blobs:
        for saves in (False, True):
            with pytest.raises(holdall.UntrustedPayloadError, match="run repair") as caught:
                await (
                    blobs.save("signed", {3}, format="pickle") if saves else blobs.load("signed")
                )
            assert "HOLDALL_SIGNING_KEY" not in str(caught.value)
            assert str(folder / ".holdall/signer") in str(caught.value)
        assert await blobs.load("plain") == [1]
        assert [one.kind for one in (await blobs.verify()).problems] == ["signer_damaged"]
        await blobs.repair()
        assert await blobs.load("signed") == {1}
        await blobs.save("signed", {3}, format="pickle")
        assert (await blobs.verify()).ok


def change(folder, sql):
    connection = sqlite3.connect(folder / ".holdall/inline/values.sqlite")
    connection.execute(sql)
    connection.commit()
    connection.close()
    seal(folder / ".holdall/inline/values.sqlite")


@pytest.fixture
async def inline(folder):
    async with BlobManager(folder, inline_below=300) as blobs:
        await blobs.save_many({f"k{number}": {"x": number} for number in range(20)})
    return folder


@pytest.mark.parametrize("damage", ["content = CAST('{}' AS BLOB)", "row = x'00'"])
async def test_a_damaged_inline_value_can_be_kept_aside_by_repair(inline, damage):
    change(inline, f"UPDATE entry SET {damage} WHERE key = CAST('k3' AS BLOB)")
    async with BlobManager(inline) as blobs:
        with pytest.raises(holdall.BlobCorruptError, match="save or delete the key, or run repair"):
            await blobs.load("k3")


async def test_a_store_that_cannot_be_closed_for_its_inline_values_says_what_to_do(inline):
    change(inline, "DELETE FROM meta")
    blobs = BlobManager(inline, inline_below=300)
    await blobs.save("k3", 1)
    with pytest.raises(holdall.BlobCorruptError, match="run repair") as caught:
        await blobs.close()
    assert "Query" not in str(caught.value)


async def test_an_empty_database_of_inline_values_is_called_so(inline):
    (inline / ".holdall/inline/values.sqlite").write_bytes(b"")
    async with BlobManager(inline) as blobs:
        with pytest.raises(holdall.BlobCorruptError, match=r"is empty .*run repair"):
            await blobs.load("k3")


async def test_how_many_inline_values_a_repair_could_read_is_in_its_report(inline):
    database = inline / ".holdall/inline/values.sqlite"
    content = bytearray(database.read_bytes())
    content[17] ^= 4
    # One flipped bit alone would be put right.
    content[4_090] ^= 1
    database.write_bytes(content)
    async with BlobManager(inline, inline_below=300) as blobs:
        assert (await blobs.repair(dry_run=True)).salvaged is None
        assert (await blobs.repair()).salvaged == 20
        assert await blobs.load("k3") == {"x": 3}
        assert (await blobs.repair()).salvaged is None
    database.write_bytes(b"")
    async with BlobManager(inline, inline_below=300) as blobs:
        assert (await blobs.repair()).salvaged == 0


async def test_a_key_below_a_file_is_told_to_be_another(folder):
    async with BlobManager(folder) as blobs:
        await blobs.save("a", 1)
        (folder / "mine").write_text("of another program")
        with pytest.raises(holdall.StorageIOError, match="use another key"):
            await blobs.save("mine/x", 1)


async def test_a_copied_pickle_says_that_it_is_signed_under_another_key(folder):
    async with BlobManager(folder, signing_key=SECRET) as blobs:
        await blobs.save("original", {1}, format="pickle")
        shutil.copy2(folder / "original.pkl", folder / "copied.pkl")
        with pytest.raises(holdall.UntrustedPayloadError, match=r"copied or renamed.*copy\(\)"):
            await blobs.load("copied")


@pytest.mark.parametrize("ring", [f"{SECRET},", f",{SECRET}", f"{SECRET},,{SECRET}"])
async def test_a_comma_too_many_between_keys_is_called_so(folder, ring, monkeypatch):
    with pytest.raises(holdall.InvalidArgumentError, match="comma"):
        await BlobManager(folder, signing_key=ring).save("k", {1}, format="pickle")
    monkeypatch.setenv("HOLDALL_SIGNING_KEY", ring)
    with pytest.raises(holdall.ConfigurationError, match="comma"):
        await BlobManager(folder).save("k", {1}, format="pickle")


async def test_expire_leaves_a_value_whose_record_is_damaged_to_repair(folder):
    async with BlobManager(folder) as blobs:
        await blobs.save("k", 1, ttl=0.001)
        await blobs.get_stats()
        path = folder / "k.json"
        stamp = bytearray(os.getxattr(path, "user.holdall"))
        stamp[9] ^= 1
        os.setxattr(path, "user.holdall", bytes(stamp))
        # Only a record says when a value ends, and the one that the index has may be an older one.
        assert await blobs.expire() == 0
        assert path.exists()
        await blobs.repair()
        assert await blobs.expire() == 1
        assert not path.exists()


@pytest.mark.parametrize("format", ["pickle", "joblib"])
@pytest.mark.parametrize(
    "value",
    [np.arange(3), np.array([{}, None], dtype=object), np.float64(1)],
    ids=["numbers", "objects", "scalar"],
)
async def test_a_refused_array_names_the_class_to_be_allowed(folder, format, value):
    async with BlobManager(folder, signing_key=SECRET) as blobs:
        await blobs.save("k", value, format=format)
    walled = BlobManager(folder, signing_key=SECRET, allow_classes=[dict])
    async with walled as blobs:
        message = "add numpy.ndarray to allow_classes"
        with pytest.raises(holdall.PickleRefusedError, match=message) as caught:
            await blobs.load("k")
    async with BlobManager(folder, signing_key=SECRET, allow_classes=[caught.value.name]) as blobs:
        assert np.array_equal(await blobs.load("k"), value)
