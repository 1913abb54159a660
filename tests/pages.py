"""The ends of pages of our databases (docs/disk-layout.md), for tests that damage pages."""

from __future__ import annotations

import struct
from pathlib import Path

PAGE = 4_096
CHECKED = PAGE - 8
ONES = 2**64 - 1
SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
    "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)
"""The default secret of XXH3."""
P32 = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)
P64 = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)


def xxh3(data: bytes, seed: int) -> int:
    """XXH3-64 of more than 240 bytes."""
    words = struct.unpack("<24Q", SECRET)
    signs = (seed, -seed)
    secret = struct.pack("<24Q", *((word + signs[n % 2]) & ONES for n, word in enumerate(words)))
    sums = [P32[2], P64[0], P64[1], P64[2], P64[3], P32[1], P64[4], P32[0]]

    def add(at: int, key: int) -> None:
        keys = struct.unpack_from("<8Q", secret, key)
        for n, word in enumerate(struct.unpack_from("<8Q", data, at)):
            mixed = word ^ keys[n]
            sums[n ^ 1] = (sums[n ^ 1] + word) & ONES
            sums[n] = (sums[n] + (mixed & 0xFFFFFFFF) * (mixed >> 32)) & ONES

    stripes = (len(data) - 1) // 64
    for stripe in range(stripes):
        add(64 * stripe, 8 * (stripe % 16))
        if stripe % 16 == 15:
            for n, key in enumerate(struct.unpack_from("<8Q", secret, 128)):
                sums[n] = ((sums[n] ^ (sums[n] >> 47) ^ key) * P32[0]) & ONES
    add(len(data) - 64, 121)
    keys = struct.unpack_from("<8Q", secret, 11)
    result = len(data) * P64[0]
    for n in range(0, 8, 2):
        product = (sums[n] ^ keys[n]) * (sums[n + 1] ^ keys[n + 1])
        result += (product & ONES) ^ (product >> 64)
    result &= ONES
    result ^= result >> 37
    result = result * 0x165667919E3779F9 & ONES
    return result ^ (result >> 32)


def end(page: bytes, number: int) -> bytes:
    """The end that a page has."""
    code = 0
    for at, byte in enumerate(page[:CHECKED]):
        for bit in range(8):
            if byte >> bit & 1:
                code ^= 8 * at + bit
    return xxh3(page[:CHECKED], number).to_bytes(8, "little")[:6] + code.to_bytes(2, "little")


def seal(database: Path) -> None:
    """Gives every page of a closed database that was changed the end that it would have."""
    content = bytearray(database.read_bytes())
    for at in range(0, len(content), PAGE):
        page = bytes(content[at : at + PAGE])
        if any(page):
            content[at + CHECKED : at + PAGE] = end(page, at // PAGE + 1)
    database.write_bytes(content)
