"""Random damage: files are cut, flipped, emptied or swapped; odd files are put into folders."""

from __future__ import annotations

import contextlib
import os
import random
import re
from collections.abc import Callable
from pathlib import Path

from tools.fuzz.draw import WORDS

JUNK: tuple[bytes, ...] = (
    b"", b"\0", b"\xff\xfe", b"{}", b"[]", b"null", b"{", b"[" * 20000, b'{"a":' * 20000, b"x = " + b"[" * 20000,
    b"1" * 6000, b'{"x": ' + b"9" * 6000 + b"}", b"x = " + b"9" * 6000, b"\x1b[31m\x07", b"PK\x03\x04",
    b"\x89PNG\r\n\x1a\n", b"\xef\xbb\xbf", b"tag, " * 20000, b"a" * 200000, b"\xff" * 1000, b"- " * 3000,
    b"a: &a [*a]", b"2001-99-99", b"%PDF", b"GIF89a", b"\xff\xff\xff\xff\xff\xff\xff\x7f{}", b"\x02\0\0\0\0\0\0\0{}",
    b"zwx \0 person", "long\u202e \u2028 x".encode(), b"\x08\0\0\0\0\0\0\0" + b"[" * 8,
)  # fmt: skip


def damage(path: Path, rng: random.Random) -> None:
    """Damage a file, or something in a folder."""
    if path.is_dir():
        inside = sorted(p for p in path.rglob("*") if p.is_file())
        for _ in range(rng.choice([1, 1, 2, 3])):
            if inside and rng.random() < 0.7:
                damage(rng.choice(inside), rng)
            else:
                _intrude(path, rng)
        return
    if not path.is_file():
        return
    data = path.read_bytes() if path.stat().st_size < 4 << 20 else path.read_bytes()[: 1 << 20]
    path.unlink()
    way = rng.randrange(9)
    if way == 0:
        return
    if way == 1:
        path.mkdir()
        return
    if way == 2 and rng.random() < 0.5:
        path.symlink_to(path.name)
        return
    new: Callable[[], bytes] = [
        lambda: data[: rng.randrange(len(data) + 1)], lambda: data, lambda: _flipped(data, rng),
        lambda: rng.choice(JUNK), lambda: _numbers(data, rng), lambda: _lines(data, rng),
        lambda: data.decode("latin-1").encode("utf-16"),
    ][way - 2]  # fmt: skip
    path.write_bytes(new())


def _flipped(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 3, 30]) if data else 0):
        # Headers are in the beginning; most of a file is pixels and weights.
        changed[rng.randrange(len(data) if rng.random() < 0.4 else min(len(data), 600))] = rng.randrange(256)
    return bytes(changed)


def _numbers(data: bytes, rng: random.Random) -> bytes:
    """Replace some values of a text file."""
    tokens = re.split(rb'("[^"\n]*"|[-\w.]+)', data[:200000])
    places = range(1, len(tokens), 2)
    wild = [
        b"0",
        b"-1",
        b"1e400",
        b"NaN",
        b"null",
        b'""',
        b"[]",
        b"{}",
        b'"x"',
        b"99999999999999999999",
        b"true",
        b'"\\u0000"',
        b"[[]]",
    ]
    for i in rng.sample(places, min(len(places), rng.choice([1, 2, 5]))):
        tokens[i] = rng.choice(wild)
    return b"".join(tokens) + data[200000:]


def _lines(data: bytes, rng: random.Random) -> bytes:
    """Delete, duplicate or move lines."""
    lines = data.split(b"\n")
    for _ in range(rng.choice([1, 2, 5])):
        i = rng.randrange(len(lines))
        lines[i : i + 1] = rng.choice(
            [[], [lines[i]] * 2, [lines[i][: len(lines[i]) // 2]], [rng.choice(lines), rng.choice(JUNK[:4])]]
        )
        lines = lines or [b""]
    return b"\n".join(lines)


def _intrude(folder: Path, rng: random.Random) -> None:
    """Put an odd file into a folder."""
    target = rng.choice([folder, *(p for p in folder.rglob("*") if p.is_dir())])
    stem = rng.choice(
        [
            "\x1b[31mred",
            "new\nline",
            "rtl\u202egnp",
            "x" * 251,
            "é" * 125,
            "-o",
            "bad\udcff",
            "[a]",
            "%s",
            " ",
            "a" * 240,
            "😀",
        ]
    )
    name = stem + rng.choice(
        [".png", ".txt", ".json", ".jsonl", ".toml", ".mp4", ".zip", ".npz", ".safetensors", "", ".tags", ".png"]
    )
    name = name if len(os.fsencode(name)) <= 255 else stem
    path = target / name
    with contextlib.suppress(FileExistsError, OSError):
        match rng.randrange(6):
            case 0:
                os.mkfifo(path)
            case 1:
                path.mkdir()
            case 2:
                path.symlink_to(rng.choice(["nothing", ".", path.name, "/dev/zero", "/proc/self/mem"]))
            case 3:
                path.write_bytes(rng.choice(JUNK))
            case _:
                images = sorted(p for p in folder.rglob("*.png") if p.is_file())
                path.write_bytes(rng.choice(images).read_bytes() if images else rng.choice(JUNK))
                path.with_suffix(".txt").write_text(
                    "zwx person, \x1b[31mhat, " + rng.choice(WORDS).encode(errors="replace").decode()
                )
