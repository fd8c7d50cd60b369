"""Who may do what: callers, rules of routes, the checks before them, limits and uploads."""

from __future__ import annotations

import asyncio
import base64
import io
import pickle
import struct
import time
import zlib

import pytest
from fastapi import FastAPI
from PIL import Image

from bakehouse.core.errors import UsageError
from bakehouse.generation.img2img_settings import Extend, FromImage, Hires
from bakehouse.generation.request import ImageRequest
from bakehouse.serve.app import check_address
from bakehouse.serve.errors import ServeError
from bakehouse.serve.guard.callers import IMPLIED, Gate
from bakehouse.serve.guard.limits import Limits
from bakehouse.serve.guard.rules import rules_of
from bakehouse.serve.guard.uploads import Uploads, decode_base64
from bakehouse.serve.settings import ServeSettings
from bakehouse.serve.store import session_tokens
from bakehouse.serve.store.store import open_store
from bakehouse.serve.store.tokens import NO_QUOTA, SCOPES, Quota
from bakehouse.serve.work.served_models import ModelToServe
from tests.serve.conftest import png

CRUMB = (ModelToServe("crumb", "crumb"),)


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path) as store:
        yield store


def test_tokens_of_recent_sessions_are_known_and_kept_as_hashes(store, monkeypatch):
    day, began = 86_400, time.time()
    store.session_tokens.add("bh_before")
    monkeypatch.setattr(session_tokens.time, "time", lambda: began + 6 * day)
    store.session_tokens.add("bh_now")
    gate = Gate(store.tokens, session_hashes=store.session_tokens.hashes())
    for text in ("bh_before", "bh_now"):
        assert "admin" in gate.caller(f"Bearer {text}", "127.0.0.1").scopes
    with pytest.raises(ServeError, match="not valid"):
        gate.caller("Bearer bh_other", "127.0.0.1")
    monkeypatch.setattr(session_tokens.time, "time", lambda: began + 8 * day)
    gate = Gate(store.tokens, session_hashes=store.session_tokens.hashes())
    with pytest.raises(ServeError, match="not valid"):
        gate.caller("Bearer bh_before", "127.0.0.1")
    assert b"bh_" not in (store.folder / "serve.db").read_bytes()


def test_a_token_comes_as_bearer_or_as_password(store):
    token, text = store.tokens.add("laptop", frozenset({"draw"}))
    gate = Gate(store.tokens)
    for header in (f"Bearer {text}", f"bearer  {text}", basic(text)):
        assert gate.caller(header, "127.0.0.1").key == token.caller


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer bh_wrong", basic("wrong"), "Basic %%%", "Digest x"])
def test_without_a_valid_token_nobody_comes_in(store, header):
    store.tokens.add("laptop", frozenset({"draw"}))
    with pytest.raises(ServeError) as e:
        Gate(store.tokens).caller(header, "127.0.0.1")
    assert e.value.status == 401
    assert "WWW-Authenticate" in e.value.headers


def test_a_wrong_token_is_refused_also_where_none_is_needed(store):
    gate = Gate(store.tokens, anonymous="read")
    assert gate.caller(None, "10.0.0.7").key == "anonymous:10.0.0.7"
    assert gate.caller(None, "10.0.0.7").scopes == {"read"}
    with pytest.raises(ServeError):
        gate.caller("Bearer bh_wrong", "10.0.0.7")


def test_a_tokens_own_limits_come_before_the_servers(store):
    _, text = store.tokens.add("laptop", frozenset({"draw"}), Quota(pictures_per_month=3))
    gate = Gate(store.tokens, quota=Quota(characters_per_month=100, pictures_per_month=1))
    assert gate.caller(f"Bearer {text}", "").quota == Quota(characters_per_month=100, pictures_per_month=3)


def test_an_address_that_others_reach_needs_a_token(store):
    outside = ServeSettings(models=CRUMB, host="0.0.0.0")
    with pytest.raises(UsageError, match="tokens add"):
        check_address(outside, store)
    token, _ = store.tokens.add("laptop", frozenset({"read"}))
    check_address(outside, store)
    store.tokens.revoke(token.name)
    with pytest.raises(UsageError):
        check_address(outside, store)


def test_a_route_without_a_rule_ends_the_start():
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.get("/secret")(lambda: "open to everybody")
    with pytest.raises(RuntimeError, match="/secret"):
        rules_of(app)


def test_each_route_lets_in_the_scopes_of_its_rule_and_no_others(running):
    """The whole table, routes x scopes: who may not gets 401 or 403, who may gets something else."""
    rules = rules_of(running.app)
    assert len(rules) > 15
    wrong = []
    for rule in rules:
        path = rule.path.replace(":path", "").replace("{", "x").replace("}", "")
        for scope in (None, *SCOPES):
            headers = {} if scope is None else running.headers(scope)
            # An empty body: what is let in ends with an error of its own before anything is drawn.
            answer = running.client.request(rule.method, path, headers=headers, content=b"\0not a body")
            if rule.access == "share":  # a link decides, whatever the token
                if answer.status_code != 404:
                    wrong.append((rule.method, rule.path, scope, answer.status_code))
                continue
            let_in = rule.access == "open" or (scope is not None and rule.access in IMPLIED[scope])
            if (answer.status_code not in (401, 403)) != let_in:
                wrong.append((rule.method, rule.path, scope, answer.status_code))
    assert not wrong


def test_there_are_no_routes_beside_the_table(running):
    paths = {rule.path for rule in rules_of(running.app)}
    for path in ("/docs", "/openapi.json", "/redoc"):
        assert path not in paths
        assert running.client.get(path).status_code == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "localhost.evil", ""])
def test_a_name_that_is_not_the_servers_is_refused(running, host):
    answer = running.client.get("/health", headers={"Host": host})
    assert answer.status_code == 421
    assert "error" in answer.json()


@pytest.mark.parametrize("host", ["localhost", "localhost:80", "127.0.0.1:7860", "[::1]:7860", "10.1.2.3"])
def test_addresses_and_the_servers_own_names_are_known(running, host):
    assert running.client.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_pages_of_other_sites_can_change_nothing(running, headers):
    """Not even with a token: a browser may add a saved password by itself."""
    answer = running.client.post(
        "/api/v1/draw", headers={**running.headers("admin"), **headers}, content='{"prompt": "x"}'
    )
    assert answer.status_code == 403
    preflight = running.client.options("/api/v1/draw", headers={**headers, "Access-Control-Request-Method": "POST"})
    assert "access-control-allow-origin" not in preflight.headers


def test_a_page_of_the_server_itself_may(running):
    answer = running.get("/api/v1/me", headers={"Origin": "http://127.0.0.1"})
    assert answer.status_code == 200
    answer = running.post("/api/v1/draw", {}, headers={"Origin": "http://127.0.0.1"})
    assert answer.status_code == 422


def test_a_body_that_is_too_large_is_not_read(running):
    limit = running.server.settings.limits.body_bytes
    answer = running.client.post("/api/v1/draw", headers={**running.headers(), "Content-Length": str(limit + 1)})
    assert answer.status_code == 413

    def endless():
        for _ in range(limit // (1 << 20) + 2):
            yield bytes(1 << 20)

    answer = running.client.post("/models/crumb", headers=running.headers(), content=endless())
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"width": 4096}, "width"),
        ({"height": 4096}, "height"),
        ({"steps": 500}, "steps"),
        ({"count": 99}, "pictures"),
        ({"prompt": "x" * 5000}, "prompt"),
        ({"negative": "x" * 5000}, "negative prompt"),
        ({"hires": Hires(scale=8)}, "width"),
        ({"hires": Hires(steps=400)}, "steps"),
        ({"image": FromImage(image=Image.new("RGB", (512, 512)), extend=Extend(right=2000))}, "width"),
        ({"hires": Hires(upscaler="/etc/passwd")}, "unknown"),
        ({"hires": Hires(upscaler="../../model.pth")}, "unknown"),
    ],
)
def test_what_is_beyond_a_limit_is_refused_by_name(fields, named):
    request = ImageRequest(**{"prompt": "x", **fields})
    with pytest.raises(ServeError, match=named) as e:
        Limits().check(request, native_size=512, upscalers=["Latent"])
    assert e.value.status == 400


def test_a_usual_request_is_within_the_limits():
    request = ImageRequest(prompt="x", width=512, height=768, hires=Hires(upscaler="latent"))
    Limits().check(request, native_size=512, upscalers=["Latent"])


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises an image that fills the memory."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 400),
        (b"GIF89a", 400),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 400),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n(run) system", 400),
        (pickle.dumps({"weights": 1}), 400),
        (bomb(60000, 60000), 400),
        (bomb(6000, 6000), 413),
        (b"\x89PNG\r\n\x1a\n" + bytes(2 << 20), 413),
    ],
    ids=["empty", "torn", "svg", "eps", "pickle", "bomb", "too many pixels", "too many bytes"],
)
def test_what_is_no_usable_image_is_refused_and_not_kept(tmp_path, data, status):
    uploads = Uploads(tmp_path, Limits(upload_bytes=1 << 20))
    with pytest.raises(ServeError) as e:
        asyncio.run(uploads.save(data))
    assert e.value.status == status
    assert str(tmp_path) not in e.value.text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_images_are_recognized_by_their_content(tmp_path, kind):
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, kind)
    path = asyncio.run(Uploads(tmp_path, Limits()).save(buffer.getvalue()))
    assert path.parent == tmp_path
    assert path.read_bytes() == buffer.getvalue()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/x.png",
        "http://169.254.169.254/latest/meta-data",
        "https://allowed.example.evil.example/x.png",
        "http://allowed.example@127.0.0.1/x.png",
    ],
)
def test_no_url_is_fetched_from_a_host_that_is_not_allowed_by_name(tmp_path, url):
    uploads = Uploads(tmp_path, Limits(), fetch_hosts=("allowed.example",))
    with pytest.raises(ServeError) as e:
        asyncio.run(uploads.save_text(url))
    assert e.value.code == "url_not_allowed"


def test_an_allowed_host_is_asked_and_its_redirects_are_not_followed(tmp_path, monkeypatch):
    asked = []

    class Answer:
        def __init__(self, status: int) -> None:
            self.status_code = status

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def iter_content(self, size):
            yield png()

    def get(url, **options):
        asked.append(options["allow_redirects"])
        return Answer(302 if "moved" in url else 200)

    monkeypatch.setattr("requests.get", get)
    uploads = Uploads(tmp_path, Limits(), fetch_hosts=("Allowed.example",))
    assert asyncio.run(uploads.save_text("https://allowed.example/x.png")).read_bytes() == png()
    with pytest.raises(ServeError, match="302"):
        asyncio.run(uploads.save_text("https://allowed.example/moved.png"))
    assert asked == [False, False]


def test_base64_comes_alone_or_in_a_data_url():
    text = base64.b64encode(b"abc").decode()
    assert decode_base64(text) == decode_base64(f"data:image/png;base64,{text}") == b"abc"
    for wrong in ("%%%", "data:image/png,abc", "data:text/plain;base64,%"):
        with pytest.raises(ServeError):
            decode_base64(wrong)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("crumb", "crumb"),
        ("owner/model", "owner/model"),
        ("dog=owner/model", "dog"),
        ("a/b/My dog.safetensors", "My-dog"),
    ],
)
def test_models_have_names_that_a_url_can_hold(text, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if text.endswith(".safetensors"):
        (tmp_path / text).parent.mkdir(parents=True)
        (tmp_path / text).touch()
    assert ModelToServe.parse(text).name == name
    with pytest.raises(UsageError, match="cannot be the name"):
        ModelToServe.parse("../../x=crumb")
    assert Quota() == NO_QUOTA
