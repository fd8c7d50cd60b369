"""Shares: what a link opens and what it does not, limits, the gallery, and what the owner decides."""

from __future__ import annotations

import logging
import re
import secrets
import threading
import time
from datetime import UTC, datetime

import pytest

from bakehouse.core.errors import UsageError
from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.serve.dialects import share as share_routes
from bakehouse.serve.errors import ServeError
from bakehouse.serve.guard import visitors
from bakehouse.serve.guard.rules import rules_of
from bakehouse.serve.guard.visitors import VisitorGate, network_of
from bakehouse.serve.shares.prompts import read_visitor_prompt
from bakehouse.serve.shares.templates import library_templates_of, parts_of, templates_of
from bakehouse.serve.start import open_to
from bakehouse.serve.store.share_usage import ShareQuotaError, ShareUsage, TooManyAtOnceError, seconds_to_next
from bakehouse.serve.store.shares import ShareSettings
from bakehouse.serve.store.store import open_store
from bakehouse.serve.work.worker_process import WorkerProcess

FAST = {"steps": 1, "width": 64, "height": 64}
CRUMB = ShareSettings(model="crumb")


class Visitor:
    """A browser that has opened a share's link."""

    def __init__(self, running, path: str) -> None:
        self.client, self.path = running.client, path
        self.secret = secrets.token_urlsafe(24)

    def ask(self, method: str, path: str, body=None, **headers):
        headers = {"X-Visitor": self.secret, **headers}
        return self.client.request(method, f"{self.path}/{path}", json=body, headers=headers)

    def draw(self, prompt: str = "a red robot"):
        return self.ask("POST", "pictures", {"prompt": prompt})

    def drawn(self, prompt: str = "a red robot") -> str:
        """Draw a picture and return its id when it is finished."""
        answer = self.draw(prompt)
        assert answer.status_code == 202, answer.text
        events = self.ask("GET", f"pictures/{answer.json()['id']}/events").text
        assert parse_json(events.strip().rsplit("data: ", 1)[1])["state"] == "done", events
        return answer.json()["id"]

    def gallery(self) -> list[str]:
        return [one["id"] for one in self.ask("GET", "gallery").json()["pictures"]]


def made(running, **fields):
    """A share made over HTTP, as the owner sees it."""
    body = {"name": f"share-{secrets.token_hex(4)}", **FAST, **fields}
    answer = running.post("/api/v1/shares", body, "admin")
    assert answer.status_code == 201, answer.text
    return answer.json()


def visit(running, **fields) -> Visitor:
    return Visitor(running, made(running, **fields)["path"])


def test_a_visitor_draws_with_words_alone(running):
    visitor = visit(running, subject="zwx robot", title="<b>Zwx</b>", templates=["{subject} in {red|blue}"])
    about = visitor.ask("GET", "about").json()
    assert about["title"] == "<b>Zwx</b>"
    assert about["templates"] == [[{"text": "zwx robot"}, {"text": " in "}, {"name": "", "options": ["red", "blue"]}]]
    assert about["left"] == [
        {"whose": "address", "period": "day", "limit": 20, "left": 20, "reset": about["left"][0]["reset"]},
        {"whose": "share", "period": "day", "limit": 200, "left": 200, "reset": about["left"][0]["reset"]},
    ]
    assert "<title>&lt;b&gt;Zwx&lt;/b&gt;</title>" in running.client.get(visitor.path).text
    answer = visitor.draw("at the beach <lora:secret:1>  <hypernet:x:1>")
    assert answer.json()["removed"] == ["<lora:secret:1>", "<hypernet:x:1>"]
    assert answer.json()["prompt"] == "zwx robot, at the beach"
    events = visitor.ask("GET", f"pictures/{answer.json()['id']}/events").text
    ended = parse_json(events.strip().rsplit("data: ", 1)[1])
    assert (ended["state"], ended["mine"], ended["shown"]) == ("done", True, False)
    picture = visitor.ask("GET", f"pictures/{ended['id']}")
    assert picture.headers["content-type"] == "image/webp" and picture.content[8:12] == b"WEBP"
    assert b"zwx robot" not in picture.content  # no settings in the file
    left = visitor.ask("GET", "about").json()["left"]
    assert [one["left"] for one in left] == [19, 199]
    assert [one["id"] for one in visitor.ask("GET", "mine").json()["pictures"]] == [ended["id"]]


def test_a_link_opens_nothing_but_its_own_routes(running):
    """All of the application's routes with the link as a token, a password and a cookie: only the share's let it in."""
    share = made(running)
    link = share["path"].rsplit("/", 1)[1]
    wrong = []
    for rule in rules_of(running.app):
        if rule.access == "open":
            continue
        path = re.sub(r"{link}", link, rule.path)
        path = path.replace(":path", "").replace("{", "x").replace("}", "")
        for headers in ({"Authorization": f"Bearer {link}"}, {"Cookie": f"bakehouse={link}"}, {"X-Visitor": link}):
            answer = running.client.request(rule.method, path, headers=headers, content=b"\0not a body")
            if (answer.status_code == 401) != (rule.access != "share"):
                wrong.append((rule.method, rule.path, headers, answer.status_code))
    assert not wrong
    opened = [rule.path for rule in rules_of(running.app) if rule.access == "share"]
    assert len(opened) == 9 and all(path.startswith("/share/{link}/") for path in opened)
    assert running.client.post("/api/v1/session", json={"token": link}).status_code == 401


@pytest.mark.parametrize("way", ["unknown", "revoked", "expired"])
def test_a_link_that_is_over_opens_nothing(running, way):
    share = made(running)
    visitor = Visitor(running, share["path"])
    if way == "unknown":
        visitor.path = "/share/" + "x" * 32
    elif way == "revoked":
        assert running.delete(f"/api/v1/shares/{share['name']}", "admin").json()["revoked"]
    else:
        name = share["name"]
        running.server.store.shares.change(name, ShareSettings(model="crumb", expires=time.time() - 1))
    expected = (404, "no_such_share") if way == "unknown" else (410, "share_over")
    job = "x" * 24
    for method, path, body in (
        ("GET", "about", None), ("POST", "pictures", {"prompt": "x"}), ("GET", "mine", None), ("GET", "gallery", None),
        ("GET", f"pictures/{job}", None), ("GET", f"pictures/{job}/events", None), ("DELETE", f"pictures/{job}", None),
        ("PUT", f"pictures/{job}/shown", {"shown": True}), ("POST", f"pictures/{job}/report", {}),
    ):  # fmt: skip
        answer = visitor.ask(method, path, body)
        assert (answer.status_code, answer.json()["error"]["code"]) == expected, path
    page = running.client.get(visitor.path)
    assert page.status_code == expected[0] and "<title>bakehouse</title>" in page.text
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]


def test_quotas_of_address_and_share_end_with_429(running):
    visitor = visit(running, address_day=1, day=2)
    visitor.drawn()
    answer = visitor.draw()
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "address_day_used")
    assert 0 < int(answer.headers["Retry-After"]) <= 24 * 3600
    assert answer.headers["RateLimit"].startswith('"pictures";r=0;')
    other_browser = Visitor(running, visitor.path)
    assert other_browser.draw().status_code == 429  # the address counts, not the browser's secret
    # Who is no proxy may say of itself what it wants.
    assert visitor.ask("POST", "pictures", {"prompt": "x"}, **{"X-Forwarded-For": "8.8.8.8"}).status_code == 429


def test_a_share_counts_all_addresses_together_and_begins_anew_at_midnight(tmp_path):
    now = [datetime(2026, 11, 30, 23, 59, tzinfo=UTC).timestamp()]
    with open_store(tmp_path) as store:
        share = store.shares.add("one", ShareSettings(model="crumb", address_day=None, day=2, month=3))
        usage = ShareUsage(store.database, clock=lambda: now[0])

        def draw(address: str) -> int:
            return usage.reserve(share, address, model="crumb", characters=1, at_once=9)

        first = draw("a")
        draw("b")
        with pytest.raises(ShareQuotaError) as e:
            draw("c")
        assert (e.value.limit.whose, e.value.limit.period, e.value.limit.reset) == ("share", "day", 60)
        store.ledger.refund(first)
        draw("c")
        now[0] += 61  # the next day, and the next month
        for _ in range(2):
            store.ledger.settle(draw("a"), pictures=1, seconds=1.0)
        now[0] += 24 * 3600
        draw("a")
        with pytest.raises(ShareQuotaError, match="of this month"):
            draw("a")
        assert usage.drawn(share) == {"day": 1, "month": 3}
        assert [row["token"] for row in store.ledger.rows()] == ["share one"] * 6
        assert seconds_to_next("month", now[0]) == 30 * 24 * 3600 - 24 * 3600 - 1 + 24 * 3600 - 59 + 60 - 1
        with pytest.raises(TooManyAtOnceError):
            usage.reserve(store.shares.add("two", CRUMB), "a", model="crumb", characters=1, at_once=0)


def test_what_fails_is_given_back(running, monkeypatch):
    visitor = visit(running)
    monkeypatch.setattr(running.server.engine, "submit", lambda *_, **__: (_ for _ in ()).throw(busy()))
    answer = visitor.draw()
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    monkeypatch.undo()
    assert visitor.ask("GET", "about").json()["left"][0]["left"] == 20
    assert visitor.ask("GET", "mine").json()["pictures"] == []


def busy() -> ServeError:
    return ServeError(503, "busy", "the server is busy", retry_after=10.0)


def test_errors_of_the_server_tell_visitors_nothing(running, monkeypatch):
    visitor = visit(running)
    error = ServeError(500, "failed", "/home/me/models/secret.safetensors is damaged")
    monkeypatch.setattr(running.server.engine, "submit", lambda *_, **__: (_ for _ in ()).throw(error))
    answer = visitor.draw()
    assert answer.status_code == 500 and "secret" not in answer.text


def test_the_model_of_a_share_may_be_away(running):
    share = running.server.store.shares.add(secrets.token_hex(4), ShareSettings(model="gone", subject="zwx"))
    visitor = Visitor(running, share.path)
    assert visitor.ask("GET", "about").json()["open"] is False
    answer = visitor.draw()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_away")
    assert "crumb" not in answer.text
    place, headers = f"/api/v1/shares/{share.name}", running.headers("admin")
    changed = running.client.patch(place, json={"title": "Back soon"}, headers=headers).json()
    assert (changed["title"], changed["served"]) == ("Back soon", False)
    assert running.client.patch(place, json={"model": "gone"}, headers=headers).status_code == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"prompt": ""}, 400),
        ({"prompt": " <lora:x:1> "}, 400),
        ({"prompt": "x" * 301}, 400),
        ({"prompt": "x" * 20_000}, 422),
        ({"prompt": "x", "steps": 150}, 422),
        ({"prompt": "x", "model": "crumb"}, 422),
        ({"prompt": "x", "image": "/etc/passwd"}, 422),
        ({"prompt": ["x"]}, 422),
        ({}, 422),
        ({"prompt": "x" * 70_000}, 413),
    ],
)
def test_nothing_but_words_can_be_sent(running, body, status):
    visitor = visit(running)
    assert visitor.ask("POST", "pictures", body).status_code == status
    assert visitor.ask("GET", "mine").json()["pictures"] == []


@pytest.mark.parametrize(
    "name", ["%00", "..%2f..%2fserve.db", "%ff", "x" * 5000, "'; DROP TABLE shares--", "%F0%9F%98%80", "*", "%25"]
)
def test_odd_names_are_not_there(running, name):
    visitor = visit(running)
    for method, path, body in (
        ("GET", name, None), ("GET", f"{name}/events", None), ("DELETE", name, None),
        ("PUT", f"{name}/shown", {"shown": True}), ("POST", f"{name}/report", {}),
    ):  # fmt: skip
        assert visitor.ask(method, f"pictures/{path}", body).status_code == 404, path
    for path in (f"/share/{name}", f"/share/{name}/about", f"/share/{name}/mine"):
        assert running.client.get(path).status_code == 404, path
    for asked in ("pictures", f"pictures/{name}/hidden"):
        assert running.get(f"/api/v1/shares/{name}/{asked}", "admin").status_code in (404, 405)


@pytest.mark.parametrize("secret", ["short", "x" * 65, "x" * 31 + "/", ""])
def test_a_browsers_secret_has_a_form(running, secret):
    visitor = visit(running)
    visitor.secret = secret
    assert visitor.draw().status_code == 400
    without = running.client.post(f"{visitor.path}/pictures", json={"prompt": "x"})
    assert without.status_code == 400 and "X-Visitor" in without.json()["error"]["message"]


def test_a_picture_is_its_browsers_until_it_is_shown(running):
    visitor = visit(running)
    other = Visitor(running, visitor.path)
    picture = visitor.drawn("<img src=x onerror=alert(1)>")
    for method, path, body in (
        ("GET", picture, None), ("GET", f"{picture}/events", None), ("DELETE", picture, None),
        ("PUT", f"{picture}/shown", {"shown": True}), ("POST", f"{picture}/report", {}),
    ):  # fmt: skip
        assert other.ask(method, f"pictures/{path}", body).status_code == 404, path
    assert other.gallery() == []
    shown = visitor.ask("PUT", f"pictures/{picture}/shown", {"shown": True}).json()
    assert shown["shown"] and shown["prompt"] == "<img src=x onerror=alert(1)>"
    assert other.gallery() == [picture]
    found = other.ask("GET", "gallery").json()["pictures"][0]
    assert found["mine"] is False and not {"visitor", "address", "file", "model"} & found.keys()
    assert other.ask("GET", f"pictures/{picture}").status_code == 200
    for method, path, body in (("DELETE", picture, None), ("PUT", f"{picture}/shown", {"shown": False})):
        assert other.ask(method, f"pictures/{path}", body).status_code == 404
    elsewhere = visit(running)
    assert elsewhere.ask("GET", f"pictures/{picture}").status_code == 404
    file = running.server.store.pictures.path(running.server.store.pictures.of_job(picture)[0])
    assert file.exists()
    assert visitor.ask("DELETE", f"pictures/{picture}").json() == {"removed": picture}
    assert not file.exists() and running.server.store.jobs.find(picture) is None
    assert other.gallery() == [] and visitor.ask("GET", "mine").json()["pictures"] == []
    assert visitor.ask("GET", "about").json()["left"][0]["left"] == 19  # it was drawn all the same


def test_what_the_safety_checker_has_flagged_cannot_be_shown(running):
    visitor = visit(running)
    store, link = running.server.store, visitor.path.rsplit("/", 1)[1]
    share = store.shares.find(link)
    job = secrets.token_hex(12)
    store.jobs.add(job, share.caller, {"request": {"prompt": "x"}}, None)
    store.pictures.add(
        b"x", "webp", caller=share.caller, job=job, number=0, model="crumb", prompt="x", seed=1, size=(8, 8),
        infotext="x\nSteps: 1, Safety checker: flagged",
    )  # fmt: skip
    store.jobs.set_state(job, "done")
    store.share_pictures.add(job, share.id, running.server.visitors.visitor(link, "", visitor.secret).own)
    assert [one["flagged"] for one in visitor.ask("GET", "mine").json()["pictures"]] == [True]
    answer = visitor.ask("PUT", f"pictures/{job}/shown", {"shown": True})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "cannot_be_shown")


def test_a_picture_that_its_owner_has_deleted_is_gone_for_its_visitor(running):
    visitor = visit(running)
    picture = visitor.drawn()
    (stored,) = running.server.store.pictures.of_job(picture)
    assert running.delete(f"/api/v1/pictures/{stored.id}", "admin").status_code == 200
    assert visitor.ask("GET", "mine").json()["pictures"] == []
    assert visitor.ask("GET", f"pictures/{picture}").status_code == 404


def test_a_share_without_a_gallery_has_none(running):
    visitor = visit(running, gallery=False)
    picture = visitor.drawn()
    assert visitor.ask("GET", "gallery").json()["error"]["code"] == "no_gallery"
    assert visitor.ask("PUT", f"pictures/{picture}/shown", {"shown": True}).status_code == 403
    assert Visitor(running, visitor.path).ask("GET", f"pictures/{picture}").status_code == 404


def test_reports_hide_a_picture_and_the_owner_decides(running):
    share = made(running)
    visitor, other = Visitor(running, share["path"]), Visitor(running, share["path"])
    picture = visitor.drawn()
    visitor.ask("PUT", f"pictures/{picture}/shown", {"shown": True})
    for _ in range(4):  # one address is one report
        assert other.ask("POST", f"pictures/{picture}/report", {"reason": "a  <b>\nreason"}).status_code == 200
    assert other.gallery() == [picture]
    for address in ("b", "c"):
        running.server.store.share_pictures.report(picture, address, "")
    assert other.gallery() == [] and other.ask("GET", f"pictures/{picture}").status_code == 404
    place = f"/api/v1/shares/{share['name']}"
    (row,) = running.get(f"{place}/pictures?only=reported", "admin").json()["pictures"]
    assert (row["hidden"], row["reports"], row["reasons"]) == ("reports", 3, ["a <b> reason"])
    assert running.get(place, "admin").json()["reported"] == 1

    def hide(hidden: bool) -> dict:
        body = {"hidden": hidden}
        asked = f"{place}/pictures/{picture}/hidden"
        return running.client.put(asked, json=body, headers=running.headers("admin")).json()

    assert hide(False)["reports"] == 0
    for address in ("b", "c", "d", "e"):
        running.server.store.share_pictures.report(picture, address, "")
    assert other.gallery() == [picture]  # the owner has kept it
    assert hide(True)["hidden"] == "owner"
    assert other.gallery() == []
    assert running.delete(f"{place}/pictures/{picture}", "admin").json() == {"deleted": picture}
    assert running.get(f"{place}/pictures", "admin").json()["pictures"] == []
    assert visitor.ask("GET", "mine").json()["pictures"] == []


def test_only_administrators_make_shares(running):
    for token in ("read", "draw", "train"):
        assert running.post("/api/v1/shares", {"name": "x"}, token).status_code == 403
        assert running.get("/api/v1/shares", token).status_code == 403


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"model": "none"}, "none"),
        ({"steps": 500}, "steps = 500"),
        ({"width": 63}, "width = 63"),
        ({"day": 0}, "day = 0"),
        ({"embed": ["https://x; script-src *"]}, "origin"),
        ({"embed": ["javascript:alert(1)"]}, "origin"),
        ({"sets": ["/etc/passwd"]}, "set of templates"),
        ({"templates": ["{a|{b|c}} ${x=1}"]}, "template"),
        ({"title": "x" * 121}, "title"),
        ({"days": -1}, "days"),
        ({"name": ""}, "name"),
    ],
)
def test_what_a_share_cannot_be_is_refused_by_name(running, fields, named):
    answer = running.post("/api/v1/shares", {"name": "wrong", **fields}, "admin")
    assert 400 <= answer.status_code < 500 and named in answer.text


def test_settings_change_and_the_link_stays(running):
    share = made(running, sets=["portraits:1"], day=5)
    place = f"/api/v1/shares/{share['name']}"
    headers = running.headers("admin")
    changed = running.client.patch(place, json={"title": "New", "day": None, "days": 2}, headers=headers).json()
    assert (changed["title"], changed["day"], changed["path"]) == ("New", None, share["path"])
    assert changed["templates"] == share["templates"] and len(share["templates"]) == 1
    assert 0 < changed["expires"] - time.time() <= 2 * 24 * 3600
    assert running.client.patch("/api/v1/shares/none", json={}, headers=headers).status_code == 404


@pytest.mark.parametrize(
    ("embed", "sites"), [([], "'none'"), (["https://Example.org/", "http://a.b:8080"], "https://example.org http://a.b:8080"),
                         (["*"], "*")]
)  # fmt: skip
def test_frames_are_allowed_by_the_owner_alone(running, embed, sites):
    page = running.client.get(made(running, embed=embed)["path"])
    assert page.headers["content-security-policy"].endswith(f"frame-ancestors {sites}")
    assert page.headers["referrer-policy"] == "no-referrer"
    for name in re.findall(r"(?:src|href)=\"([^\"]+)\"", page.text):
        assert running.client.get(f"/share/{name}".replace("/share/../", "/")).status_code == 200


def test_pages_of_other_sites_cannot_draw(running):
    visitor = visit(running, embed=["*"])
    assert visitor.ask("POST", "pictures", {"prompt": "x"}, Origin="https://example.org").status_code == 403


def test_a_waiting_picture_can_be_taken_back_and_who_follows_it_is_told(running, monkeypatch):
    visitor = visit(running)
    monkeypatch.setattr(WorkerProcess, "is_ready", property(lambda _: False))  # all pictures wait
    first, second = (visitor.draw().json()["id"] for _ in range(2))
    answer = visitor.draw()
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "too_many_at_once")
    tasks, followed = running.server.engine.tasks, []
    follow = threading.Thread(target=lambda: followed.append(visitor.ask("GET", f"pictures/{second}/events").text))
    follow.start()
    while not tasks[second].has_listeners:
        time.sleep(0.01)
    assert [one["place"] for one in visitor.ask("GET", "mine").json()["pictures"]] == [1, 0]
    assert visitor.ask("DELETE", f"pictures/{second}").json() == {"removed": second}
    follow.join()
    ended = parse_json(followed[0].strip().rsplit("data: ", 1)[1])
    assert (ended["id"], ended["state"]) == (second, "canceled")
    assert visitor.ask("GET", "about").json()["left"][0]["left"] == 19
    running.client.portal.call(tasks[first].begin)
    assert visitor.ask("DELETE", f"pictures/{first}").json()["error"]["code"] == "being_drawn"
    monkeypatch.undo()
    assert '"state": "done"' in visitor.ask("GET", f"pictures/{first}/events").text


def test_a_share_has_room_for_so_many(running, monkeypatch):
    visitor = visit(running)
    monkeypatch.setattr(share_routes, "MOST_WAITING", 0)
    answer = visitor.draw()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "busy")
    assert answer.headers["Retry-After"] == "15"


def test_requests_a_minute_are_limited_by_address(tmp_path, monkeypatch):
    monkeypatch.setitem(visitors.A_MINUTE, "draw", 2)
    now = [0.0]
    with open_store(tmp_path) as store:
        gate = VisitorGate(store.shares, clock=lambda: now[0])
        link = store.shares.add("one", CRUMB).link
        first, again, other = (gate.visitor(link, a, None) for a in ("2001:db8::1", "2001:db8::2", "10.0.0.1"))
        gate.count(first, "draw")
        gate.count(again, "draw")
        with pytest.raises(ServeError) as e:
            gate.count(first, "draw")
        assert (e.value.status, e.value.retry_after) == (429, 60.0)
        gate.count(other, "draw")
        now[0] = 61.0
        gate.count(first, "draw")
        assert "10.0.0.1" not in repr(other) and link not in repr(store.shares.all())
    assert network_of("::ffff:10.0.0.1") == "10.0.0.1" and network_of("fe80::1%eth0") == "fe80::/64"
    assert network_of("unknown") == "unknown"


def test_words_of_visitors_are_plain_and_name_no_files():
    settings = ShareSettings(model="crumb", templates=("{subject}, easynegative",))

    def read(text: str, subject: str = "", embeddings: tuple[str, ...] = ()) -> str:
        return read_visitor_prompt(text, settings, subject, embeddings).text

    assert read("a\u202e b\x00\n c") == "a b c"
    assert read("<lo<lora:a:1>ra:b:1> x") == "x"
    assert read("A ZWX Robot", "zwx robot") == "A ZWX Robot"
    assert read("beach", "zwx robot") == "zwx robot, beach"
    for text in ("a Bad-Hand x", "bad-hand", "b\u00e1d-hand!", "9bad-hand_", "bad - hand"):
        with pytest.raises(ServeError, match="cannot be used here"):
            read(text, embeddings=("bad-hand",))
    assert read("a badly-handled cat", embeddings=("bad-hand",)) == "a badly-handled cat"
    assert read("x, easynegative", embeddings=("EasyNegative",)) == "x, easynegative"


def test_templates_are_texts_and_choices():
    assert parts_of("{subject}, {red|{dark|light} blue}") == (
        {"name": "subject", "options": []}, {"text": ", "}, {"name": "", "options": ["red", "dark blue", "light blue"]},
    )  # fmt: skip
    (text,) = templates_of(["crumb:1"])
    assert text == "{subject}, __crumb/place__" and len(parts_of(text)[-1]["options"]) > 5
    for wrong in ("{2$$a|b}", "${x=1}x", "__nothing__", "{a"):
        with pytest.raises(UsageError, match=r"template|wildcard"):
            templates_of([], [wrong])
    with pytest.raises(UsageError, match="did you mean 'portraits'"):
        library_templates_of(["portrait"])


def test_the_table_of_routes_names_shares(running, tmp_path):
    from bakehouse.serve.settings import ServeSettings
    from bakehouse.serve.work.served_models import ModelToServe

    with open_store(tmp_path) as store:
        store.shares.add("party", CRUMB)
        store.shares.revoke(store.shares.add("over", CRUMB).name)
    settings = ServeSettings(models=(ModelToServe("crumb", "crumb"),), folder=tmp_path)
    rows = [row for row in open_to(settings) if row.access == "share"]
    assert {row.callers for row in rows} == {("link of party",)}


def test_links_are_not_in_the_log(running, caplog, monkeypatch):
    visitor = visit(running)
    monkeypatch.setattr(logging.getLogger("bakehouse.serve"), "propagate", True)
    caplog.set_level(logging.INFO, "bakehouse.serve")
    caplog.clear()
    visitor.ask("GET", "about")
    running.client.get(visitor.path)
    assert {record.path for record in caplog.records if hasattr(record, "path")} == {"/share/.../about", "/share/..."}
