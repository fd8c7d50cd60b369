"""The page's document and files, its texts in three languages, and the routes that were made for it."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from bakehouse.generation.infotext import Infotext
from bakehouse.serve.dialects.page import FOLDER
from tests.serve.conftest import png_text

WEB = Path(__file__).parents[2] / "web"
LANGUAGES = sorted(path.stem for path in (WEB / "src/i18n").glob("*.json"))


def texts(language: str) -> dict[str, str]:
    """All texts of a language by their dotted key."""

    def walk(value, key: str):
        if isinstance(value, str):
            yield key, value
        else:
            for name, one in value.items():
                yield from walk(one, f"{key}.{name}".strip("."))

    return dict(walk(json.loads((WEB / f"src/i18n/{language}.json").read_text("utf-8")), ""))


def test_the_document_allows_only_its_own_files(running):
    answer, again = running.client.get("/"), running.client.get("/")
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self';" in policy and "frame-ancestors 'none'" in policy and "default-src 'none'" in policy
    nonce = re.search(r"'nonce-([\w-]+)'", policy)[1]
    assert f'content="{nonce}"' in answer.text
    assert again.headers["content-security-policy"] != policy
    assert answer.headers["cache-control"] == "no-store"
    assert not re.search(r"(?:src|href)=\"(?!\./)", answer.text)
    for name in re.findall(r'"\./(assets/[^"]+)"', answer.text):
        found = running.client.get(f"/{name}")
        assert found.status_code == 200 and "immutable" in found.headers["cache-control"]


def test_the_service_worker_keeps_built_files_alone(running):
    answer = running.client.get("/service-worker.js")
    assert (
        answer.headers["content-type"].startswith("text/javascript") and answer.headers["cache-control"] == "no-cache"
    )
    kept = json.loads(re.search(r"const FILES = (\[.*?\]);", answer.text)[1])
    assert len(kept) > 20 and all(running.client.get(name.removeprefix(".")).status_code == 200 for name in kept)
    built = {path.name for path in (FOLDER / "assets").iterdir() if path.suffix in (".js", ".css")}
    assert built <= {name.rpartition("/")[2] for name in kept}
    assert (FOLDER / "sources.sha256").read_text()[:16] in answer.text
    assert "worker-src" not in running.client.get("/").headers["content-security-policy"], "script-src holds for it"


@pytest.mark.parametrize("name", ["no.js", "..%2Findex.html", "%2e%2e%2f%2e%2e%2fapp.py"])
def test_other_files_are_not_served(running, name):
    assert running.client.get(f"/assets/{name}").status_code == 404


def test_built_files_name_no_other_host():
    """Besides addresses that are names: XML namespaces, and documentation in messages of libraries."""
    known = ("http://www.w3.org/", "https://react.dev/", "https://mantine.dev/", "https://tanstack.com/")
    found = {
        url
        for path in (FOLDER / "assets").glob("*.[jc]s*")
        for url in re.findall(r"(?:fetch|import|url)\(\s*[\"'`]?(https?://[^\"'`)]+)", path.read_text("utf-8"))
        if not url.startswith(known)
    }
    assert not found


def test_built_files_are_those_of_the_sources():
    """`make page-check` builds again and compares; this only knows of which sources the build was."""
    names = "head.ts", "index.html", "share.html", "package.json", "package-lock.json", "vite.config.ts"
    kept = [WEB / name for name in names]
    files = sorted(kept + [path for path in (WEB / "src").rglob("*") if path.is_file()], key=lambda p: p.as_posix())
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(WEB).as_posix()}\n".encode() + path.read_bytes())
    assert (FOLDER / "sources.sha256").read_text().strip() == digest.hexdigest(), "build again: make page"


@pytest.mark.parametrize("language", LANGUAGES)
def test_languages_are_complete(language):
    assert LANGUAGES == ["en", "pt", "zh"]
    english, here = texts("en"), texts(language)
    assert list(here) == list(english)
    for key, text in here.items():
        assert text.strip() and sorted(re.findall(r"{{\w+}}", text)) == sorted(re.findall(r"{{\w+}}", english[key])), (
            key
        )


def test_texts_are_translated():
    """What is the same in all languages is the same word: names, and what models are told in English."""
    same = {key for key, text in texts("en").items() if text in (texts("pt")[key], texts("zh")[key])}
    assert same == {
        "generate.prompt", "generate.promptExample", "generate.guidance", "generate.sampler", "generate.schedule",
        "signIn.token", "usage.token", "tokens.title", "captions.tags", "datasets.tag", "name.nameExample",
        "name.kinds.animal", "canvas.extend.pixels",
    }  # fmt: skip


def test_every_text_that_the_page_asks_for_exists():
    keys = set(texts("en"))
    plural = {key.removesuffix("_one") for key in keys if key.endswith("_one")}
    asked = {
        key
        for path in (WEB / "src").rglob("*.ts*")
        for key in re.findall(r"\bt\(\"([\w.]+)\"", path.read_text("utf-8"))
    }
    assert len(asked) > 200
    assert asked <= keys | plural


def test_a_prompt_is_explained(running):
    found = running.post("/api/v1/prompt", {"prompt": "a (red hoodie <lora:zwx:0.5>"}).json()
    assert "never closed" in found["warnings"][0]
    assert found["adapters"] == [{"name": "zwx", "text": 0.5, "unet": 0.5}]
    found = running.post("/api/v1/prompt", {"prompt": "a (cat:1.3), [x|y]", "negative": "(red)"}).json()
    parts = [(one["text"], one["kind"], one["weight"]) for one in found["parts"]]
    assert parts[:3] == [("a ", "text", 1.0), ("(", "syntax", 1.3), ("cat", "text", 1.3)]
    assert ("x", "alternation", 1.0) in parts and "".join(text for text, *_ in parts) == "a (cat:1.3), [x|y]"
    assert found["negative_parts"][1] == {"text": "red", "kind": "text", "weight": 1.1}
    assert [one["text"] for one in found["tree"][0]["inside"]] == [
        "text 'a '", "emphasis 1.3", "text ', '", "alternation of 2",
    ]  # fmt: skip


def test_tags_are_completed(running):
    found = [row["tag"] for row in running.get("/api/v1/tags?q=smi&limit=50").json()["tags"]]
    assert found[0].startswith("smi") and "big smile" in found
    assert running.get("/api/v1/tags?q=a&vocabulary=../x").status_code == 422


def test_the_library_of_templates_is_listed(running):
    found = {one["name"] for one in running.get("/api/v1/templates").json()["templates"]}
    assert {"portraits", "toys"} <= found


def test_a_template_is_filled(running):
    body = {"name": "portraits:1", "slots": {"subject": "a {cat|dog} __place__"}, "seed": 3}
    first = running.post("/api/v1/templates/fill", body, "read").json()["prompt"]
    assert first.startswith("a head-and-shoulders portrait of a {cat|dog} __place__, ") and "{light}" not in first
    assert running.post("/api/v1/templates/fill", body, "read").json()["prompt"] == first
    said = {**body, "slots": {"subject": "a cat", "light": "candle light"}, "form": "tags"}
    found = running.post("/api/v1/templates/fill", said, "read").json()["prompt"]
    assert found == "a cat, portrait, looking at viewer, candle light, grey background"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"name": "/etc/passwd"}, 404), ({"name": "portraits:99"}, 404), ({"name": "../x:1"}, 404),
        ({"slots": {"nothing": "x"}}, 400), ({"slots": {"subject": "x" * 501}}, 400), ({"form": "verse"}, 422),
    ],
)  # fmt: skip
def test_templates_that_are_not_there_are_refused(running, change, status):
    answer = running.post("/api/v1/templates/fill", {"name": "portraits:1", **change}, "read")
    assert answer.status_code == status and "error" in answer.json()


def test_settings_of_a_picture_of_another_program_are_read(running):
    settings = {
        "Steps": 30, "Sampler": "DPM++ 2M Karras", "CFG scale": 6.5, "Seed": 42, "Size": "640x960", "Model": "other",
        "Clip skip": 2, "Face restoration": "CodeFormer",
    }  # fmt: skip
    text = str(Infotext.make("a cat", "blurry", settings))
    found = running.post("/api/v1/recall", {"infotext": text}).json()
    assert found["request"] == {
        "prompt": "a cat", "negative": "blurry", "steps": 30, "sampler": "DPM++ 2M", "schedule": "Karras",
        "guidance": 6.5, "seed": 42, "width": 640, "height": 960, "clip_skip": 2,
    }  # fmt: skip
    assert found["model"] is None
    assert len(found["notes"]) == 2 and "CodeFormer" in found["notes"][0] and "other" in found["notes"][1]


def test_regions_and_the_second_pass_of_a_picture_are_read(running):
    settings = {
        "Steps": 4, "Region 1": "left: a cat", "Region 2": "50,0,100,80: a dog <lora:x:0.5>", "Region base": "0.2",
        "Region edge": "1", "Hires upscale": "1.5", "Hires upscaler": "Nope", "Denoising strength": "0.4",
    }  # fmt: skip
    found = running.post("/api/v1/recall", {"infotext": str(Infotext.make("two", "", settings))}).json()
    rows = [{"area": "left", "prompt": "a cat"}, {"area": "50,0,100,80", "prompt": "a dog <lora:x:0.5>"}]
    assert found["request"]["regions"] == {"regions": rows, "base": 0.2, "edge": 1.0}
    assert found["request"]["hires"] == {"scale": 1.5, "upscaler": "Latent", "steps": None, "strength": 0.4}
    assert found["notes"] == ["the upscaler Nope is not installed here; Latent is used"]
    settings = {"Region 1": "mask=/etc/passwd.png: a cat", "Region 2": "nowhere: a dog"}
    found = running.post("/api/v1/recall", {"infotext": str(Infotext.make("two", "", settings))}).json()
    assert "regions" not in found["request"] and len(found["notes"]) == 2


def test_a_picture_without_settings_is_refused(running):
    answer = running.post("/api/v1/recall", {"image": png_text()})
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "no_infotext"


def test_pictures_are_found_by_words_seed_and_star(running):
    token = running.new_token("gallery")
    pictures = running.server.store.pictures
    caller = running.server.store.tokens.find(token).caller
    for number, prompt in enumerate(["a red_hat", "a red hat, 100%", "a blue hat"]):
        pictures.add(
            b"x", "png", caller=caller, job="j", number=number, model="crumb", prompt=prompt, seed=70 + number,
            size=(1, 1), infotext="",
        )  # fmt: skip

    def seeds(query: str) -> list[int]:
        return [one["seed"] for one in running.get(f"/api/v1/pictures?{query}", token).json()["pictures"]]

    assert seeds("q=hat") == [72, 71, 70]
    assert seeds("q=hat+red") == [71, 70]
    assert seeds("q=red_") == [70]
    assert seeds("q=0%25") == [71]
    assert seeds("q=72") == [72]
    assert seeds("model=none") == []
    first = running.get("/api/v1/pictures?q=71", token).json()["pictures"][0]["id"]
    star = running.client.put(f"/api/v1/pictures/{first}/star", json={"starred": True}, headers=running.headers(token))
    assert star.json() == {"id": first, "starred": 1}
    assert seeds("starred=true") == [71]
    other = running.client.put(
        f"/api/v1/pictures/{first}/star", json={"starred": True}, headers=running.headers("other")
    )
    assert other.status_code == 404
