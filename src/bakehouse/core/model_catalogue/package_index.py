"""The URLs of archives on PyPI and npm, or on the mirrors that the user's pip and npm are set to.

`pip download` and `npm pack` would find them too, but their downloads of hundreds of megabytes are not resumed and
report no progress, and a virtual environment may have no pip, as uv makes them. Nothing is installed.
"""

from __future__ import annotations

import ast
import base64
import functools
import html.parser
import os
import shutil
import subprocess
import sys
import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bakehouse.core.model_catalogue.download import DownloadError, RemoteFile, get, reason_of, without_login
from bakehouse.core.parse_json_toml_yaml import parse_json

PYPI = "https://pypi.org/simple"
NPM = "https://registry.npmjs.org"
_SIMPLE = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"


@dataclass(frozen=True)
class _Link:
    name: str
    url: str
    sha256: str


def pypi_wheel(package: str, version: str) -> RemoteFile:
    """Return the wheel of a release that fits this machine best, from the indexes that pip is set to.

    Raises:
        DownloadError: no index has it or can be reached; says what each answered.
    """
    failures = []
    for index in _indexes():
        page = RemoteFile(f"{index.rstrip('/')}/{_normal(package)}/", certificates=_pip("cert"))
        try:
            links = _links(page)
        except (ValueError, OSError) as e:
            failures.append(f"{without_login(page.url)}: {reason_of(e)}")
            continue
        if link := _best(links, package, version):
            digest = f"sha256:{link.sha256}" if link.sha256 else ""
            return RemoteFile(link.url, digest, certificates=_pip("cert"))
        failures.append(f"{without_login(page.url)}: no wheel of {package} {version} for this Python and system")
    raise DownloadError("; ".join(failures))


def _normal(package: str) -> str:
    """PEP 503: `Some.Package_Name` is `some-package-name`."""
    return package.lower().replace("_", "-").replace(".", "-")


def _indexes() -> list[str]:
    others = (_pip("extra-index-url") or "").split()
    # Indexes that are folders are left to pip.
    return [url for url in (_pip("index-url") or PYPI, *others) if url.startswith(("http://", "https://"))]


def _pip(name: str) -> str | None:
    """Return a setting of pip, from the environment or from its files."""
    return os.environ.get(f"PIP_{name.upper().replace('-', '_')}", _pip_files().get(name))


@functools.cache
def _pip_files() -> dict[str, str]:
    """Return the settings in pip's files, as pip itself reads them; empty if there is no pip."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found: dict[str, dict[str, str]] = {"global": {}, "download": {}}
    for line in done.stdout.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.partition(".")
        if section in found:
            found[section][name] = str(ast.literal_eval(value))
    return {**found["global"], **found["download"]}


def _links(page: RemoteFile) -> list[_Link]:
    """Return a project's files on a simple index (PEP 503 as HTML, PEP 691 as JSON)."""
    with get(page, {"Accept": _SIMPLE}) as response:
        text, kind = response.content.decode("utf-8"), response.headers.get("Content-Type", "")
    if kind.partition(";")[0].strip().endswith("json"):
        files: Iterable[dict[str, Any]] = parse_json(text)["files"]
        found = [(f["filename"], f["url"], f.get("hashes", {}).get("sha256", "")) for f in files]
    else:
        anchors = _Anchors()
        anchors.feed(text)
        parts = [urllib.parse.urldefrag(href) for href in anchors.links]
        found = [
            (urllib.parse.unquote(url.rsplit("/", 1)[-1]), url, dict(urllib.parse.parse_qsl(mark)).get("sha256", ""))
            for url, mark in parts
        ]
    return [_Link(name, urllib.parse.urljoin(page.url, url), sha256) for name, url, sha256 in found]


class _Anchors(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value for name, value in attrs if tag == "a" and name == "href" and value]


def _best(links: Iterable[_Link], package: str, version: str) -> _Link | None:
    """Return the wheel that pip would choose: of those that fit this system, the most specific one."""
    from packaging.tags import sys_tags
    from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
    from packaging.version import InvalidVersion, Version

    order = {tag: place for place, tag in enumerate(sys_tags())}
    fitting: list[tuple[int, _Link]] = []
    for link in links:
        try:
            name, its, _, tags = parse_wheel_filename(link.name)
        except (InvalidWheelFilename, InvalidVersion):
            continue  # not a wheel: a source archive
        places = [order[tag] for tag in tags if tag in order]
        if places and name == canonicalize_name(package) and its == Version(version):
            fitting.append((min(places), link))
    return min(fitting, key=lambda pair: pair[0])[1] if fitting else None


def npm_tarball(package: str, version: str) -> RemoteFile:
    """Return the archive of a release in the registry that npm is set to.

    Raises:
        DownloadError: the registry has none, or cannot be reached.
    """
    page = RemoteFile(f"{_npm_registry().rstrip('/')}/{urllib.parse.quote(package, safe='@')}/{version}")
    try:
        with get(page, {"Accept": "application/json"}) as response:
            parts = parse_json(response.content)["dist"]
    except (ValueError, KeyError, OSError) as e:
        raise DownloadError(f"{without_login(page.url)}: {reason_of(e)}") from e
    algorithm, _, digest = str(parts.get("integrity", "")).partition("-")
    known = f"{algorithm}:{base64.b64decode(digest).hex()}" if algorithm in ("sha256", "sha384", "sha512") else ""
    return RemoteFile(parts["tarball"], known or (f"sha1:{parts['shasum']}" if "shasum" in parts else ""))


def _npm_registry() -> str:
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        if own := os.environ.get(name):
            return own
    npm = shutil.which("npm")
    if npm is None:
        return NPM
    done = subprocess.run([npm, "config", "get", "registry"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or NPM
