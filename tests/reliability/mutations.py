"""Ways to damage a file: what ten hospitals' exports, broken transfers and an attacker do to it."""

import gzip
import io
import random
import re
import zipfile

_WORDS = (
    *(b"nan", b"inf", b"-inf", b"-1", b"0", b"1e12", b"1e309", b"-999999", b"999999999999", b"4294967296", b"1e-320"),
    *(b"", b" ", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", "ü".encode(), "𝛼".encode(), "\u202e".encode(), b"x" * 5000),
    *(b"../../../etc/passwd", b"${oc.env:HOME}", b"%s%n", b"\r", b"\n\n", b"\t", b",", b"#", b"'", b'"', b"[", b"{"),
)
_INTEGERS = (0, 1, -1, 2, 127, 128, 255, 256, 32767, -32768, 65535, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """One to four kinds of damage; of archives, to what is inside them as often as to the archive."""
    inside = rng.random() < 0.6
    if inside and data[:2] == b"PK":
        return _in_zip(data, rng)
    if inside and data[:2] == b"\x1f\x8b":
        return gzip.compress(mutate(gzip.decompress(data), rng), 1)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = rng.choice(_KINDS)(data, rng)
    return data


def _in_zip(data, rng):
    source, target = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    chosen = rng.choice(source.namelist())
    with zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            content = source.read(name)
            archive.writestr(name, mutate(content, rng) if name == chosen else content)
    return target.getvalue()


def _truncated(data, rng):
    return data[: rng.randrange(len(data) + 1)]


def _bits(data, rng):
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 30))):
        if damaged:
            damaged[_place(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _number(data, rng):
    """Binary headers: an absurd integer of 2, 4 or 8 bytes in either order."""
    size = rng.choice((2, 4, 8))
    value = rng.choice(_INTEGERS) % (1 << (8 * size))
    at = _place(data, rng)
    return data[:at] + value.to_bytes(size, rng.choice(("little", "big"))) + data[at + size :]


def _word(data, rng):
    """Text: a token replaced by one that a parser does not expect."""
    tokens = list(re.finditer(rb"[\w.+-]+", data[:20000]))
    if not tokens:
        return rng.choice(_WORDS) + data
    token = rng.choice(tokens)
    return data[: token.start()] + rng.choice(_WORDS) + data[token.end() :]


def _insert(data, rng):
    at = _place(data, rng)
    return data[:at] + rng.choice((*_WORDS, rng.randbytes(rng.randrange(40)))) + data[at:]


def _delete(data, rng):
    at = _place(data, rng)
    return data[:at] + data[at + rng.choice((1, 2, 8, 100)) :]


def _repeat(data, rng):
    """Duplicate a stretch: doubled channels, rows, records."""
    start = _place(data, rng)
    part = data[start : start + rng.choice((1, 16, 200))]
    return data[:start] + part * rng.choice((2, 50)) + data[start:]


def _swap(data, rng):
    first, second = sorted((_place(data, rng), _place(data, rng)))
    size = rng.choice((1, 4, 16))
    return data[:first] + data[second : second + size] + data[first + size :]


def _zeros(data, rng):
    at, size = _place(data, rng), rng.choice((4, 64, 4096))
    return data[:at] + bytes(min(size, len(data) - at)) + data[at + size :]


def _nothing(data, rng):
    return rng.choice((b"", b"\n", bytes(100), rng.randbytes(300), data[::-1]))


def _place(data, rng):
    """Half of the time in the header, where damage does most."""
    return rng.randrange(min(len(data), rng.choice((600, len(data)))) or 1) if data else 0


_KINDS = (_truncated, _bits, _number, _number, _word, _word, _insert, _delete, _repeat, _swap, _zeros, _nothing)
