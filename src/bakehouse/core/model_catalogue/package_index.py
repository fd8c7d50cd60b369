"""Archives in package registries: asked for where the user's own pip and npm would ask. Nothing is installed."""

from __future__ import annotations

import ast
import base64
import functools
import html.parser
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bakehouse.core.json_toml_yaml import parse_json
from bakehouse.core.model_catalogue.download import FetchError, Remote, open_url, shown, why

PYPI = "https://pypi.org/simple"
NPM = "https://registry.npmjs.org"
_SIMPLE = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"


@dataclass(frozen=True)
class _Link:
    name: str
    url: str
    sha256: str


def pypi_wheel(package: str, version: str) -> Remote:
    """The wheel of a release that fits this machine best, from the indexes that pip is set to.

    Raises:
        FetchError: no index has it or can be reached; says what each answered.
    """
    said = []
    for index in _indexes():
        page = Remote(f"{index.rstrip('/')}/{_normal(package)}/", certificates=_pip("cert"))
        try:
            links = _links(page)
        except (urllib.error.URLError, ValueError, OSError) as e:
            said.append(f"{shown(page.url)}: {why(e)}")
            continue
        if link := _best(links, package, version):
            digest = f"sha256:{link.sha256}" if link.sha256 else ""
            return Remote(link.url, digest, certificates=_pip("cert"))
        said.append(f"{shown(page.url)}: no wheel of {package} {version} for this Python and system")
    raise FetchError("; ".join(said))


def _normal(package: str) -> str:
    """PEP 503: `Some.Package_Name` is `some-package-name`."""
    return package.lower().replace("_", "-").replace(".", "-")


def _indexes() -> list[str]:
    more = (_pip("extra-index-url") or "").split()
    # Folders are pip's own affair; a mirror on the network answers as the public index does.
    return [url for url in (_pip("index-url") or PYPI, *more) if url.startswith(("http://", "https://"))]


def _pip(name: str) -> str | None:
    """A setting of pip: from the environment, else from its files."""
    return os.environ.get(f"PIP_{name.upper().replace('-', '_')}", _pip_files().get(name))


@functools.cache
def _pip_files() -> dict[str, str]:
    """What pip's files say, as pip itself reads them; empty where there is no pip."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found: dict[str, dict[str, str]] = {"global": {}, "download": {}}
    for line in done.stdout.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.partition(".")
        if section in found:
            found[section][name] = str(ast.literal_eval(value))
    return {**found["global"], **found["download"]}


def _links(page: Remote) -> list[_Link]:
    """A project's files on a simple index (PEP 503 and PEP 691)."""
    with open_url(page, {"Accept": _SIMPLE}) as answer:
        text, kind = answer.read().decode("utf-8"), answer.headers.get_content_type()
    if kind.endswith("json"):
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
    """As pip chooses among wheels: the most particular that fits."""
    from packaging.tags import sys_tags
    from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
    from packaging.version import InvalidVersion, Version

    order = {tag: place for place, tag in enumerate(sys_tags())}
    fitting: list[tuple[int, _Link]] = []
    for link in links:
        try:
            name, its, _, tags = parse_wheel_filename(link.name)
        except (InvalidWheelFilename, InvalidVersion):
            continue  # a source archive
        places = [order[tag] for tag in tags if tag in order]
        if places and name == canonicalize_name(package) and its == Version(version):
            fitting.append((min(places), link))
    return min(fitting, key=lambda pair: pair[0])[1] if fitting else None


def npm_tarball(package: str, version: str) -> Remote:
    """The archive of a release in the registry that npm is set to.

    Raises:
        FetchError: it has none, or cannot be reached.
    """
    page = Remote(f"{_npm_registry().rstrip('/')}/{urllib.parse.quote(package, safe='@')}/{version}")
    try:
        with open_url(page, {"Accept": "application/json"}) as answer:
            parts = parse_json(answer.read())["dist"]
    except (urllib.error.URLError, ValueError, KeyError, OSError) as e:
        raise FetchError(f"{shown(page.url)}: {why(e)}") from e
    algorithm, _, digest = str(parts.get("integrity", "")).partition("-")
    known = f"{algorithm}:{base64.b64decode(digest).hex()}" if algorithm in ("sha256", "sha384", "sha512") else ""
    return Remote(parts["tarball"], known or (f"sha1:{parts['shasum']}" if "shasum" in parts else ""))


def _npm_registry() -> str:
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        if own := os.environ.get(name):
            return own
    npm = shutil.which("npm")
    if npm is None:
        return NPM
    done = subprocess.run([npm, "config", "get", "registry"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or NPM
