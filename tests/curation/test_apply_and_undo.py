"""Whatever happens to a step, the dataset is as before it or as after it, and can be brought back."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakehouse.core.errors import BakehouseError, Problems, UsageError
from bakehouse.core.folder_lock import InUseError, locked
from bakehouse.curation import blob_store
from bakehouse.curation.apply_and_undo import (
    HISTORY_FOLDER,
    Move,
    Proposal,
    Remove,
    Write,
    apply_proposals,
    last_applied,
    read_history,
    recover,
    undo,
)
from bakehouse.curation.journal import Journal

P = PurePosixPath


def dataset(folder: Path, **files: bytes) -> Path:
    """Files by name (`__` for `/`, `_dot_` for `.`), each with an age of its own."""
    content = files or {"a_dot_png": b"A", "b_dot_png": b"B", "b_dot_txt": b"b", "deep__c_dot_png": b"C"}
    for i, (name, data) in enumerate(content.items()):
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, ns=(10**18 + i, 10**18 + i * 1_000_003))
    return folder


def look(folder: Path, *, age: bool = True) -> dict[str, tuple[bytes, int]]:
    """All files of a dataset with bytes and age, its history left out."""
    paths = [p for p in folder.rglob("*") if p.is_file() and HISTORY_FOLDER not in p.parts]
    return {p.relative_to(folder).as_posix(): (p.read_bytes(), p.stat().st_mtime_ns * age) for p in sorted(paths)}


def told(*edits: Write | Remove | Move) -> list[Proposal]:
    return [Proposal(edit.path, "because", lambda edit=edit: (edit,)) for edit in edits]


CHANGES = (
    Write(P("a.png"), b"AA"),
    Remove(P("b.txt")),
    Move(P("b.png"), P("new/b.png")),
    Move(P("deep/c.png"), P("b.png")),
    Write(P("d/e/f.txt"), b"new"),
    Write(P("g.txt"), b"new"),
)
AFTER = {"a.png": b"AA", "new/b.png": b"B", "b.png": b"C", "d/e/f.txt": b"new", "g.txt": b"new"}


def test_a_step_does_what_is_told_and_undo_takes_it_back(tmp_path):
    before = look(dataset(tmp_path))
    step = apply_proposals(tmp_path, "trim", told(*CHANGES), settings={"fuzz": 0.04})
    after = look(tmp_path)
    assert {name: data for name, (data, _) in after.items()} == AFTER
    assert after["new/b.png"] == before["b.png"], "what moves keeps its age"
    assert not (tmp_path / "deep").exists()
    assert (step.number, step.operation, step.settings, step.state) == (1, "trim", {"fuzz": 0.04}, "done")
    assert read_history(tmp_path) == (step,)
    assert undo(tmp_path).state == "undone"
    assert look(tmp_path) == before


def test_any_number_of_steps_come_back_in_reverse_order(tmp_path):
    states = [look(dataset(tmp_path))]
    for edits in (
        CHANGES,
        (Write(P("a.png"), b"A"), Write(P("g.txt"), b"B")),
        (Move(P("g.txt"), P("a.png")), Move(P("a.png"), P("g.txt"))),
        (Remove(P("a.png")), Remove(P("b.png")), Remove(P("new/b.png"))),
    ):
        assert apply_proposals(tmp_path, "x", told(*edits))
        states.append(look(tmp_path))
    for state in states[-2::-1]:
        undo(tmp_path)
        assert look(tmp_path) == state
    with pytest.raises(UsageError, match="no applied step left"):
        undo(tmp_path)
    assert apply_proposals(tmp_path, "again", told(*CHANGES)).number == 5
    assert [s.state for s in read_history(tmp_path)] == ["undone"] * 4 + ["done"]


names = st.sampled_from([P(n) for n in ("a", "b", "c", "d/a", "d/b", "e/f/g")])
edits = st.one_of(
    st.builds(Write, names, st.sampled_from([b"1", b"2", b"3"])),
    st.builds(Remove, names),
    st.builds(Move, names, names),
)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.lists(edits, min_size=1, max_size=4), min_size=1, max_size=5))
def test_undo_is_the_inverse_of_any_step(tmp_path_factory, steps):
    folder = dataset(tmp_path_factory.mktemp("set"), a=b"1", b=b"1", d__a=b"2", d__b=b"3")
    states = []
    for wanted in steps:
        before = look(folder)
        try:
            step = apply_proposals(folder, "x", told(*wanted))
        except Problems:
            assert look(folder) == before
            continue
        if step is not None:
            states.append(before)
    for state in reversed(states):
        undo(folder)
        assert look(folder) == state


# --- killed -----------------------------------------------------------------------------------------------------------

DRIVER = """
import os, shutil, signal, sys
from pathlib import Path
from bakehouse.core import thread_pool
from bakehouse.curation import apply_and_undo
sys.path.insert(0, {tests!r})
from test_apply_and_undo import CHANGES, dataset, told

kind, root = {kind!r}, Path({root!r})
MOVES = ("os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.utime", "shutil.rmtree", "open")

def die_at(n):
    left = [n]
    def hook(event, args):
        if event not in MOVES or (event == "open" and not (args[2] or 0) & (os.O_WRONLY | os.O_RDWR)):
            return
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

thread_pool.WORKERS = 1
n = 0
while True:
    folder = root / f"{{n:03d}}"
    dataset(folder)
    if kind == "undo":
        apply_and_undo.apply_proposals(folder, "x", told(*CHANGES))
    pid = os.fork()
    if pid == 0:
        die_at(n)
        apply_and_undo.apply_proposals(folder, "x", told(*CHANGES)) if kind == "apply" else apply_and_undo.undo(folder)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code == 0:
        break
    assert code == -signal.SIGKILL, code
    n += 1
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
@pytest.mark.parametrize("kind", ["apply", "undo"])
def test_killed_anywhere_a_step_is_done_or_never_was(tmp_path, kind):
    code = DRIVER.format(kind=kind, root=str(tmp_path / "sets"), tests=str(Path(__file__).parent))
    (tmp_path / "sets").mkdir()
    before = look(dataset(tmp_path / "plain"))
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
    folders = sorted((tmp_path / "sets").iterdir())
    assert len(folders) > 30, "the driver died at each operation"
    outcomes = set()
    for folder in folders:
        recover(folder)
        found = look(folder)
        done = last_applied(folder) is not None
        outcomes.add(done)
        if done:
            assert {name: data for name, (data, _) in found.items()} == AFTER
            undo(folder)
            found = look(folder)
        assert found == before, folder
        # A kill leaves nothing in the way of the next step.
        apply_proposals(folder, "y", told(*CHANGES))
        assert not list((folder / HISTORY_FOLDER).rglob("*.part"))
    assert outcomes == {True, False}


def test_contents_are_on_the_disk_before_a_step_counts_on_them(tmp_path, monkeypatch):
    happened = []
    write = Journal.write
    monkeypatch.setattr(
        blob_store, "flush_to_disk", lambda folder: happened.append(sorted(p.read_bytes() for p in folder.iterdir()))
    )
    monkeypatch.setattr(Journal, "write", lambda self, step: happened.append(step.state) or write(self, step))
    apply_proposals(dataset(tmp_path), "x", told(*CHANGES))
    assert happened == [[b"AA", b"new"], "applying", [], "done"]


def test_taking_back_copies_nothing(tmp_path):
    dataset(tmp_path)
    before = (tmp_path / "b.txt").stat()
    apply_proposals(tmp_path, "x", told(Write(P("b.txt"), b"another")))
    undo(tmp_path)
    after = (tmp_path / "b.txt").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_what_a_hand_wrote_stays_where_what_should_come_is_gone(tmp_path):
    dataset(tmp_path)
    step = apply_proposals(tmp_path, "x", told(Write(P("a.png"), b"AA"), Remove(P("b.txt"))))
    Journal(tmp_path / HISTORY_FOLDER / "steps").write(replace(step, state="undoing"))
    (tmp_path / "a.png").write_bytes(b"by hand")
    next(p for p in (tmp_path / HISTORY_FOLDER / "files").iterdir() if p.read_bytes() == b"A").unlink()
    recover(tmp_path)
    assert (tmp_path / "a.png").read_bytes() == b"by hand"
    assert (tmp_path / "b.txt").read_bytes() == b"b"


# --- refused ----------------------------------------------------------------------------------------------------------


def test_edits_by_hand_are_seen_and_can_be_kept_aside(tmp_path):
    before = look(dataset(tmp_path))
    apply_proposals(tmp_path, "x", told(*CHANGES))
    (tmp_path / "a.png").write_bytes(b"by hand")
    (tmp_path / "b.txt").write_bytes(b"new by hand")
    changed = look(tmp_path)
    with pytest.raises(UsageError, match=r"cannot undo step 1 \(x\): 2 files changed since: a\.png, b\.txt"):
        undo(tmp_path)
    assert look(tmp_path) == changed
    undo(tmp_path, keep_edits=True)
    assert look(tmp_path) == before
    aside = tmp_path / HISTORY_FOLDER / "aside" / "0001"
    assert (aside / "a.png").read_bytes() == b"by hand"
    assert (aside / "b.txt").read_bytes() == b"new by hand"


def test_a_file_brought_back_by_hand_is_no_edit(tmp_path):
    dataset(tmp_path)
    apply_proposals(tmp_path, "x", told(Remove(P("b.txt")), Write(P("a.png"), b"AA")))
    (tmp_path / "b.txt").write_bytes(b"b")
    undo(tmp_path)
    assert {n: d for n, (d, _) in look(tmp_path).items()} == {
        "a.png": b"A",
        "b.png": b"B",
        "b.txt": b"b",
        "deep/c.png": b"C",
    }


def test_what_was_moved_and_then_edited_comes_back_as_it_was(tmp_path):
    before = look(dataset(tmp_path, a_dot_png=b"A" * 100_000, a_dot_txt=b"caption"))
    apply_proposals(tmp_path, "sort", told(Move(P("a.png"), P("1_me/a.png")), Move(P("a.txt"), P("1_me/a.txt"))))
    (tmp_path / "1_me/a.txt").write_bytes(b"edited")
    undo(tmp_path, keep_edits=True)
    assert look(tmp_path) == before
    assert (tmp_path / HISTORY_FOLDER / "aside/0001/1_me/a.txt").read_bytes() == b"edited"


def test_a_large_file_that_was_moved_and_then_lost_is_told_before_anything_moves(tmp_path):
    dataset(tmp_path, a_dot_png=b"A" * 100_000, b_dot_txt=b"b")
    apply_proposals(tmp_path, "sort", told(Move(P("a.png"), P("1_me/a.png")), Remove(P("b.txt"))))
    (tmp_path / "1_me/a.png").write_bytes(b"painted over")
    after = look(tmp_path)
    with pytest.raises(BakehouseError, match=r"lacks the old contents of a\.png"):
        undo(tmp_path, keep_edits=True)
    assert look(tmp_path) == after
    (tmp_path / "1_me/a.png").write_bytes(b"A" * 100_000)
    undo(tmp_path)


def test_an_undo_that_was_stopped_goes_on_and_takes_no_further_step(tmp_path, monkeypatch):
    dataset(tmp_path)
    apply_proposals(tmp_path, "one", told(Write(P("a.png"), b"1")))
    between = look(tmp_path)
    apply_proposals(tmp_path, "two", told(*CHANGES))
    monkeypatch.setattr(Path, "unlink", stop_here)
    with pytest.raises(KeyboardInterrupt):
        undo(tmp_path)
    monkeypatch.undo()
    assert [s.state for s in read_history(tmp_path)] == ["done", "undoing"]
    assert undo(tmp_path).operation == "two"
    assert look(tmp_path) == between


def test_files_changed_while_a_step_lay_half_way_are_kept_and_do_not_block(tmp_path, monkeypatch):
    dataset(tmp_path)
    monkeypatch.setattr(os, "link", stop_here)
    with pytest.raises(KeyboardInterrupt):
        apply_proposals(tmp_path, "x", told(*CHANGES))
    monkeypatch.undo()
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(f"{name} by hand".encode())
    assert recover(tmp_path) is not None
    assert {n: d for n, (d, _) in look(tmp_path).items()} == {n: d for n, d in AFTER.items() if n != "new/b.png"}
    aside = tmp_path / HISTORY_FOLDER / "aside/0001"
    assert {p.name: p.read_bytes() for p in aside.iterdir()} == {n: f"{n} by hand".encode() for n in ("a.png", "b.png")}
    assert apply_proposals(tmp_path, "y", told(Write(P("a.png"), b"free"))) is not None


def stop_here(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_damaged_store_is_told_before_anything_moves(tmp_path):
    dataset(tmp_path)
    apply_proposals(tmp_path, "x", told(*CHANGES))
    after = look(tmp_path)
    for path in (tmp_path / HISTORY_FOLDER / "files").iterdir():
        path.write_bytes(b"rotten")
    with pytest.raises(BakehouseError, match=r"lacks the old contents of a\.png, b\.txt"):
        undo(tmp_path)
    assert look(tmp_path) == after
    assert last_applied(tmp_path) is not None


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ([Write(P("../x"), b"")], "outside the dataset"),
        ([Write(P("/x"), b"")], "outside the dataset"),
        ([Write(P(".bakehouse/x"), b"")], "outside the dataset"),
        ([Remove(P("none.png"))], "none.png does not exist"),
        ([Move(P("a.png"), P("b.png"))], "b.png exists already"),
        ([Move(P("a.png"), P("x")), Move(P("b.png"), P("x"))], "x is written twice"),
        ([Move(P("a.png"), P("x")), Remove(P("a.png"))], "a.png is moved or removed twice"),
        ([Write(P("x.png"), b""), Write(P("X.PNG"), b"")], "same file on systems that ignore case"),
        ([Write(P("a.png/x"), b"")], "a.png is a file"),
        ([Write(P("deep"), b"")], "deep is a folder"),
    ],
)
def test_what_contradicts_itself_is_refused_and_nothing_changes(tmp_path, wanted, words):
    before = look(dataset(tmp_path))
    with pytest.raises(Problems, match=words):
        apply_proposals(tmp_path, "x", told(Write(P("ok.txt"), b"ok"), *wanted))
    assert look(tmp_path) == before
    assert read_history(tmp_path) == ()
    assert not (tmp_path / HISTORY_FOLDER / "new").exists()


def test_nothing_is_changed_behind_links(tmp_path):
    dataset(tmp_path / "elsewhere")
    dataset(tmp_path / "set")
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "l.png").symlink_to(tmp_path / "elsewhere" / "a.png")
    before = look(tmp_path / "elsewhere")
    with pytest.raises(Problems, match=r"linked is a link(.|\n)*l\.png is a link"):
        apply_proposals(tmp_path / "set", "x", told(Write(P("linked/a.png"), b"X"), Remove(P("l.png"))))
    apply_proposals(
        tmp_path / "set", "x", told(Write(P("linked/a.png"), b"X"), Remove(P("l.png"))), out=tmp_path / "copy"
    )
    assert look(tmp_path / "elsewhere") == before
    assert (tmp_path / "copy/linked/a.png").read_bytes() == b"X"


def test_a_second_process_is_refused(tmp_path):
    dataset(tmp_path)
    with locked(tmp_path / HISTORY_FOLDER, "dataset trim"), pytest.raises(InUseError, match="in use: dataset trim"):
        apply_proposals(tmp_path, "x", told(*CHANGES))


def test_a_proposal_that_fails_leaves_everything_as_it_was(tmp_path):
    before = look(dataset(tmp_path))

    def fail():
        raise BakehouseError("cannot use b.png: cut short")

    with pytest.raises(BakehouseError, match="cut short"):
        apply_proposals(tmp_path, "x", [*told(*CHANGES), Proposal(P("b.png"), "", fail)])
    assert look(tmp_path) == before
    assert not (tmp_path / HISTORY_FOLDER / "new").exists()


def test_nothing_to_do_is_no_step(tmp_path):
    dataset(tmp_path)
    assert apply_proposals(tmp_path, "x", []) is None
    assert apply_proposals(tmp_path, "x", told(Write(P("a.png"), b"A"), Move(P("b.png"), P("b.png")))) is None
    assert read_history(tmp_path) == ()
    with pytest.raises(UsageError, match="no history"):
        undo(tmp_path)


def test_a_full_disk_loses_nothing(tmp_path):
    """Files of a process may have 100 kB, and one of the step's has 200."""
    code = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_apply_and_undo import *
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
"""
    before = look(dataset(tmp_path))
    code += f"""
from pathlib import Path
try:
    edits = told(Write(P("a.png"), b"x" * 50_000), Write(P("b.png"), b"y" * 200_000))
    apply_proposals(Path({str(tmp_path)!r}), "x", edits)
except BakehouseError as e:
    print(e)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "cannot write" in done.stdout
    assert look(tmp_path) == before
    assert read_history(tmp_path) == ()


def test_a_disk_that_fills_half_way_is_no_loss_either(tmp_path, monkeypatch):
    before = look(dataset(tmp_path))
    real = Path.replace
    left = [4]  # the note is the first, then files come into place

    def full(self, target):
        left[0] -= 1
        if left[0] == 0:
            raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(BakehouseError, match="the disk is full"):
        apply_proposals(tmp_path, "x", told(*CHANGES))
    monkeypatch.undo()
    assert read_history(tmp_path)[0].state == "applying"
    assert recover(tmp_path).operation == "x"
    assert {n: d for n, (d, _) in look(tmp_path).items()} == AFTER
    undo(tmp_path)
    assert look(tmp_path) == before


# --- elsewhere --------------------------------------------------------------------------------------------------------


def test_out_leaves_the_source_untouched(tmp_path):
    source = dataset(tmp_path / "set")
    for path in [*source.rglob("*"), source]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = look(source)
    step = apply_proposals(source, "x", told(*CHANGES), out=tmp_path / "out")
    assert look(source) == before
    assert not (source / HISTORY_FOLDER).exists()
    assert {n: d for n, (d, _) in look(tmp_path / "out").items()} == AFTER
    assert read_history(tmp_path / "out") == (step,)
    undo(tmp_path / "out")
    assert look(tmp_path / "out") == before
    for path in [source, *source.rglob("*")]:
        path.chmod(0o755)


def test_out_is_a_copy_even_if_there_is_nothing_to_do(tmp_path):
    source = dataset(tmp_path / "set")
    assert apply_proposals(source, "x", [], out=tmp_path / "out") is None
    assert look(tmp_path / "out") == look(source)


@pytest.mark.parametrize("out", ["set", "set/out", ".", "full"])
def test_out_must_be_a_new_folder_elsewhere(tmp_path, out):
    source = dataset(tmp_path / "set")
    dataset(tmp_path / "full")
    before = look(tmp_path)
    with pytest.raises(UsageError, match="-o"):
        apply_proposals(source, "x", told(*CHANGES), out=tmp_path / out)
    assert look(tmp_path) == before


def test_out_is_whole_or_absent(tmp_path):
    source = dataset(tmp_path / "set")
    with pytest.raises(Problems):
        apply_proposals(source, "x", told(Remove(P("none"))), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_a_folder_that_links_to_itself_is_copied_once(tmp_path):
    source = dataset(tmp_path / "set")
    (source / "loop").symlink_to(source)
    (source / "nowhere.png").symlink_to(tmp_path / "gone")
    apply_proposals(source, "x", [], out=tmp_path / "out")
    assert set(look(tmp_path / "out")) == {"a.png", "b.png", "b.txt", "deep/c.png"}


def test_a_large_file_is_moved_in_and_moving_a_dataset_copies_nothing(tmp_path):
    folder = dataset(tmp_path / "set", b_dot_png=bytes(100_000))
    made = tmp_path / "made.png"
    made.write_bytes(b"large" * 20_000)
    inode = (folder / "b.png").stat().st_ino
    apply_proposals(folder, "x", told(Write(P("big.png"), made), Move(P("b.png"), P("1_me/b.png"))))
    assert (folder / "big.png").read_bytes() == b"large" * 20_000
    assert not made.exists()
    assert (folder / "1_me/b.png").stat().st_ino == inode
    assert not list((folder / HISTORY_FOLDER / "files").glob("*"))


def test_names_need_not_be_unicode(tmp_path):
    dataset(tmp_path)
    odd = os.fsdecode(b"caf\xe9.png")
    (tmp_path / odd).write_bytes(b"odd")
    apply_proposals(tmp_path, "x", told(Remove(P(odd))))
    assert not (tmp_path / odd).exists()
    undo(tmp_path)
    assert (tmp_path / odd).read_bytes() == b"odd"


def test_a_broken_journal_is_named(tmp_path):
    dataset(tmp_path)
    apply_proposals(tmp_path, "x", told(*CHANGES))
    (tmp_path / HISTORY_FOLDER / "steps" / "0001-x.json").write_text('{"step": 1, "state": "baked"}')
    with pytest.raises(BakehouseError, match=r"cannot read the history file .*0001-x\.json: ValueError state 'baked'"):
        read_history(tmp_path)


def test_scan_passes_the_history_over(tmp_path):
    from PIL import Image

    from bakehouse.data import scan

    for name in ("a", "b"):
        Image.new("RGB", (64, 64), (9, 9, 200)).save(tmp_path / f"{name}.png")
    apply_proposals(tmp_path, "x", told(Remove(P("a.png"))))
    images = scan(tmp_path)
    assert [images.name(r.path) for r in images] == [P("b.png")]
    assert not images.skipped
    assert not images.notes


def test_progress_is_told(tmp_path):
    seen = []
    apply_proposals(dataset(tmp_path), "x", told(*CHANGES), progress=lambda *at: seen.append(at))
    assert seen == [(i + 1, len(CHANGES)) for i in range(len(CHANGES))]
