"""`bakehouse share`: making, changing and closing shares, and what visitors have drawn."""

from __future__ import annotations

import json
import time

import pytest

from bakehouse.serve.store.store import open_store

URL = "https://pictures.example.org"


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("BAKEHOUSE_DATA", str(tmp_path))
    return tmp_path / "serve"


def drawn(data, name: str) -> str:
    """A picture of a visitor, as a server leaves it."""
    with open_store(data) as store:
        share = store.shares.named(name)
        store.jobs.add("job", share.caller, {"request": {"prompt": "\x1b[31mred"}}, None)
        store.jobs.set_state("job", "done")
        store.pictures.add(
            b"x", "webp", caller=share.caller, job="job", number=0, model="crumb", prompt="\x1b[31mred", seed=1,
            size=(8, 8), infotext="",
        )  # fmt: skip
        store.share_pictures.add("job", share.id, "visitor")
        store.share_pictures.show("job", shown=True)
        store.share_pictures.report("job", "address", "a reason")
    return "job"


def test_a_share_is_made_changed_and_revoked(typed, data):
    code, link, notes = typed(
        "share", "add", "party", "--url", f"{URL}/", "--day", "5", "--template", "a {red|blue} cat"
    )
    assert code == 0 and link.startswith(f"{URL}/share/") and "at most 5 a day, 20 a day for each address" in notes
    code, out, _ = typed("share", "change", "party", "--day", "any", "--days", "2", "--no-gallery", "--json")
    changed = json.loads(out)
    assert changed["link"].rsplit("/", 1)[1] == link.rsplit("/", 1)[1]
    assert (changed["day"], changed["gallery"], changed["templates"]) == (None, False, ["a {red|blue} cat"])
    assert 0 < changed["expires"] - time.time() <= 2 * 24 * 3600
    assert "party" in typed("share", "list", "--url", URL)[1]
    assert typed("share", "revoke", "party")[0] == 0
    assert "revoked" in typed("share", "list")[1]
    code, _, error = typed("share", "change", "party", "--day", "1")
    assert code == 2 and "'party' is revoked" in error


def test_what_visitors_have_drawn_is_listed_hidden_and_removed(typed, data):
    typed("share", "add", "party")
    assert "nothing of this kind" in typed("share", "images", "party")[2]
    job = drawn(data, "party")
    _, out, _ = typed("share", "images", "party", "--only", "reported")
    assert "a reason" in out and "in the gallery" in out and "\x1b" not in out
    typed("share", "hide", "party", job)
    assert "hidden" in typed("share", "images", "party")[1]
    typed("share", "hide", "party", job, "--undo")
    (row,) = json.loads(typed("share", "images", "party", "--json")[1])
    assert (row["hidden"], row["reports"]) == ("", 0)
    typed("share", "remove", "party", job)
    assert json.loads(typed("share", "images", "party", "--json")[1]) == []
    code, _, error = typed("share", "remove", "party", job)
    assert code == 2 and "bakehouse share images party" in error


def test_the_code_of_a_frame_is_for_sites_that_may_show_it(typed, data):
    typed("share", "add", "party", "--title", '"><script>alert(1)</script>')
    code, _, error = typed("share", "embed", "party")
    assert code == 2 and "--embed https://example.org" in error
    typed("share", "change", "party", "--embed", "https://Example.org/")
    code, out, _ = typed("share", "embed", "party", "--url", URL)
    assert code == 0 and out.startswith(f'<iframe src="{URL}/share/') and "<script>" not in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("add", "x", "--day", "many"), "--day 'many': allowed are a whole number from 1 on, or any"),
        (("add", "x", "--day", "0"), "day = 0: allowed are 1 to 1000000"),
        (("add", "x", "--embed", "example.org"), "write an origin, such as https://example.org"),
        (("add", "x", "--templates", "portrait"), "did you mean 'portraits'"),
        (("add", "x", "--template", "{2$$a|b}"), "more than a share can show"),
        (("add", "x", "--width", "100"), "width = 100: must be a multiple of 8"),
        (("add", "x", "--days", "0"), "--days 0: must be more than 0"),
        (("add", " "), "cannot be the name of a share"),
        (("revoke", "x"), "there is no share 'x'"),
    ],
)
def test_what_cannot_be_is_one_message(typed, data, words, message):
    code, out, error = typed("share", *words)
    assert (code, out) == (2, "") and message in error


def test_a_name_is_taken_once(typed, data):
    typed("share", "add", "party")
    code, _, error = typed("share", "add", "party")
    assert code == 2 and "exists, or existed" in error
