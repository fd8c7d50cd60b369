"""Tar archives, among them webdataset's shards, and sources behind URLs."""

import io
import json
import tarfile

import fsspec
import pytest
from PIL import Image

from bakehouse.core.errors import BakehouseError, Problems, UsageError
from bakehouse.curation.apply_and_undo import undo
from bakehouse.curation.image_import import import_sources


def png(shade):
    data = io.BytesIO()
    Image.new("RGB", (64, 64), (shade, 90, 200 - shade)).save(data, "PNG")
    return data.getvalue()


def entry(name, content=b"", kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname, info.mtime = len(content), kind, link, 1_600_000_000
    return info, io.BytesIO(content)


def shard(path, numbers, mode="w", more=()):
    """Write a shard as img2dataset does: image, caption and facts of one stem."""
    with tarfile.open(path, mode) as file:
        for n in numbers:
            file.addfile(*entry(f"{n:05d}.png", png(n)))
            file.addfile(*entry(f"{n:05d}.txt", f"zwx person, place {n}".encode()))
            facts = {"caption": f"zwx person, place {n}", "url": "x", "width": 64, "key": f"{n:05d}"}
            file.addfile(*entry(f"{n:05d}.json", json.dumps(facts).encode()))
        for one in more:
            file.addfile(*one)
    return path


@pytest.mark.parametrize(
    ("name", "mode"), [("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.tgz", "w:gz"), ("a.tar.xz", "w:xz")]
)
def test_a_shard_arrives_with_its_captions(tmp_path, name, mode):
    archive = shard(
        tmp_path / name, range(3), mode, more=[entry("./._00000.png", b"x"), entry("sub", kind=tarfile.DIRTYPE)]
    )
    (done,) = import_sources([archive], tmp_path / "set")
    assert len(done.proposals) == 3
    assert (tmp_path / "set" / "00001.png").read_bytes() == png(1)
    assert (tmp_path / "set" / "00001.txt").read_text() == "zwx person, place 1"
    assert (tmp_path / "set" / "00001.png").stat().st_mtime == 1_600_000_000
    (again,) = import_sources([archive], tmp_path / "set")
    assert not again.proposals
    undo(tmp_path / "set")
    assert not list((tmp_path / "set").glob("*.png"))


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (entry("../out.png", b"x"), "leads out"),
        (entry("/abs.png", b"x"), "leads out"),
        (entry("c:/x.png", b"x"), "leads out"),
        (entry("link.png", kind=tarfile.SYMTYPE, link="/etc/passwd"), "is a link"),
        (entry("hard.png", kind=tarfile.LNKTYPE, link="00000.png"), "is a link"),
        (entry("pipe.png", kind=tarfile.FIFOTYPE), "is a device or a pipe"),
    ],
)
def test_an_archive_that_is_not_safe_is_refused_whole(tmp_path, bad, said):
    archive = shard(tmp_path / "evil.tar", range(2), more=[bad])
    with pytest.raises(Problems, match=rf"not safe to unpack(.|\n)*{said}"):
        import_sources([archive], tmp_path / "set")
    assert not list((tmp_path / "set").glob("*.png")) and not (tmp_path / "out.png").exists()


def test_damaged_archives_are_named(tmp_path):
    whole = shard(tmp_path / "a.tar", range(3)).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: len(whole) // 2])
    packed = shard(tmp_path / "b.tar.gz", range(30), "w:gz").read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(packed[: len(packed) // 2])
    for name in ("cut.tar", "cut.tar.gz"):
        with pytest.raises(BakehouseError, match=rf"cannot unpack .*{name}"):
            import_sources([tmp_path / name], tmp_path / "set")
    (tmp_path / "empty.tar").write_bytes(b"")
    with pytest.raises(UsageError, match=r"empty\.tar: unknown format(.|\n)*"):
        import_sources([tmp_path / "empty.tar"], tmp_path / "set")


def test_a_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("bakehouse.curation.image_import.archive_limits._UNCHECKED_BYTES", 1000)
    archive = shard(tmp_path / "bomb.tar.gz", [], "w:gz", more=[entry("a.bmp", bytes(10_000_000))])
    with pytest.raises(UsageError, match="implausible for images"):
        import_sources([archive], tmp_path / "set")


@pytest.fixture
def bucket(tmp_path):
    """A storage behind a URL: two shards, and a folder of photos."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    for n, numbers in enumerate((range(3), range(3, 5))):
        files.pipe(f"/sets/shard-{n}.tar", shard(tmp_path / "s.tar", numbers).read_bytes())
    for n in range(2):
        files.pipe(f"/photos/{n}.png", png(100 + n))
        files.pipe(f"/photos/{n}.txt", b"zwx person")
    yield files
    files.store.clear()


@pytest.mark.usefixtures("bucket")
def test_sources_behind_urls_are_fetched_once(tmp_path):
    urls = ["memory://sets/shard-*.tar", "memory://photos"]
    done = import_sources(urls, tmp_path / "set")
    assert [len(one.proposals) for one in done] == [3, 2, 2]
    assert done[0].source.startswith("memory://") and done[0].source.endswith("shard-0.tar")
    assert len(list((tmp_path / "set").rglob("*.png"))) == 7
    assert (tmp_path / "set" / "photos" / "1.txt").read_text() == "zwx person"
    again = import_sources(urls, tmp_path / "set")
    assert not any(one.proposals for one in again)


def test_a_shard_that_is_new_there_is_added(tmp_path, bucket):
    import_sources(["memory://sets/*.tar"], tmp_path / "set")
    bucket.pipe("/sets/shard-2.tar", shard(tmp_path / "s.tar", range(7, 9)).read_bytes())
    done = import_sources(["memory://sets/*.tar"], tmp_path / "set")
    assert [len(one.proposals) for one in done] == [0, 0, 2]


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("memory://sets/none.tar", "does not exist"),
        ("memory://sets/none-*.tar", "does not exist"),
        ("nothing://x/y", "not a protocol that fsspec knows"),
    ],
)
def test_what_cannot_be_fetched_is_said(tmp_path, url, said):
    with pytest.raises(UsageError, match=said):
        import_sources([url], tmp_path / "set")
