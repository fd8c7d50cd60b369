"""Publishing to the Hub, with its own client against a server that has its routes."""

from __future__ import annotations

import sys
import types

import pytest

from bakehouse.cli.main import main
from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.events import Progress, result_of
from bakehouse.core.hub_token import find_token
from bakehouse.publish import PublishSpec, open_destination, plan, preview, publish
from tests.publish.conftest import NAME
from tests.publish.hub_server import TOKEN

REPO = "me/zwx"
# The client's own use of its HTTP library.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture(autouse=True)
def _no_token(monkeypatch):
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    monkeypatch.setitem(sys.modules, "keyring", None)


def up(run, events=None, **spec):
    chosen = PublishSpec.parse({"person": "none", "images": 2, **spec})
    destination = open_destination(f"hub:{REPO}", chosen)
    return result_of(publish(plan(run, chosen), destination), (events if events is not None else []).append)


def test_a_run_becomes_a_private_repository_in_one_commit(learned_run, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    events: list = []
    done = up(learned_run, events)
    repo = hub.repos[REPO]
    assert repo.private and len(repo.commits) == 1
    assert {"README.md", NAME, "pytorch_lora_weights.safetensors", "publish.json", "images/01.png"} <= set(repo.files)
    assert f'"{REPO}"' in repo.files["README.md"].decode() or f"'{REPO}'" in repo.files["README.md"].decode()
    assert done.where == f"{hub.url}/{REPO}" and set(done.changed) == set(repo.files)
    counts = [e for e in events if isinstance(e, Progress) and e.what == "uploading files"]
    assert (counts[0].done, counts[-1].done) == (0, len(repo.files))
    puts = len(hub.puts)

    assert up(learned_run).changed == ()
    assert len(repo.commits) == 1 and len(hub.puts) == puts

    assert NAME in up(learned_run, author="Ann").changed
    assert "images/01.png" not in repo.commits[-1]["files"] and NAME in repo.commits[-1]["files"]

    repo.files["README.md"] = b"edited on the Hub"
    assert "was edited" in up(learned_run, author="Bea").notes[-1]
    assert repo.files["README.md"] == b"edited on the Hub"


def test_a_dry_run_reads_the_repository_and_makes_none(learned_run, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)

    def shown(**spec):
        chosen = PublishSpec.parse({"person": "none", "images": 2, **spec})
        return result_of(preview(plan(learned_run, chosen), open_destination(f"hub:{REPO}", chosen))).found

    found = shown()
    assert {one.state for one in found.files} == {"new"} and not found.exists and not hub.repos
    done = up(learned_run)
    assert found.where == done.where and {one.name for one in found.files} == set(done.changed)
    assert {one.state for one in shown().files} == {"same"}
    due = {one.name for one in shown(author="Ann").files if one.state == "changed"}
    assert due == set(up(learned_run, author="Ann").changed)


def test_after_a_failure_what_was_uploaded_is_not_uploaded_again(learned_run, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.refuse_after = 3
    with pytest.raises(BakehouseError, match="run the same command again"):
        up(learned_run)
    assert len(hub.puts) == 3 and not hub.repos[REPO].commits
    hub.refuse_after = None
    up(learned_run)
    assert len(hub.puts) == len(set(hub.puts)) > 3 and len(hub.repos[REPO].commits) == 1


def test_a_wrong_token_is_said_and_shown_nowhere(learned_run, hub, monkeypatch, capsys, caplog):
    wrong = "hf_" + "wrongsecret" * 3
    monkeypatch.setenv("HF_TOKEN", wrong)
    for debug in ((), ("--debug",)):
        try:
            main(["publish", str(learned_run.folder), "--to", f"hub:{REPO}", "--person", "none", *debug])
        except SystemExit as e:
            assert e.code == 2
        except UsageError as e:
            assert wrong not in repr(e) and e.__cause__ is None and e.__suppress_context__
    said = capsys.readouterr()
    assert "refuses to write me/zwx with the token from the environment variable HF_TOKEN (401)" in said.err
    assert wrong not in said.err + said.out + caplog.text and not hub.repos


def test_the_token_is_in_no_file(learned_run, hub, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(SystemExit) as e:
        main(["publish", str(learned_run.folder), "--to", f"hub:{REPO}", "--person", "none", "--images", "1"])
    assert not e.value.code
    said = capsys.readouterr()
    assert "published to" in said.out and TOKEN not in said.out + said.err
    written = [p for p in learned_run.folder.rglob("*") if p.is_file()]
    assert not [p for p in written if TOKEN.encode() in p.read_bytes()]
    assert not [n for n, content in hub.repos[REPO].files.items() if TOKEN.encode() in content]


def test_a_public_repository_is_not_written_by_accident(learned_run, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    up(learned_run, public=True)
    assert not hub.repos[REPO].private
    with pytest.raises(UsageError, match="is public"):
        up(learned_run, author="Ann")
    up(learned_run, author="Ann", public=True)


def test_an_unreachable_hub_is_one_message(learned_run, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(BakehouseError, match="the Hub cannot be reached"):
        up(learned_run)


def test_the_token_comes_from_the_environment_the_keyring_a_login_or_a_question(monkeypatch):
    with pytest.raises(UsageError, match="no token"):
        find_token()
    assert find_token(lambda: " asked ").text == "asked"
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "login")
    assert find_token(lambda: "asked").text == "login"
    kept = types.SimpleNamespace(get_password=lambda *names: "kept" if names == ("bakehouse", "huggingface") else None)
    monkeypatch.setitem(sys.modules, "keyring", kept)
    assert find_token().text == "kept"
    locked = types.SimpleNamespace(get_password=lambda *_: 1 / 0)
    monkeypatch.setitem(sys.modules, "keyring", locked)
    assert find_token().text == "login"
    monkeypatch.setenv("HF_TOKEN", "environment")
    token = find_token()
    assert token.text == "environment" and "environment" not in repr(token).replace("environment variable", "")
