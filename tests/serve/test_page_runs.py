"""Routes of the page's trainings: recipes that are changed before they begin, blind tests, triggers of a dataset."""

from __future__ import annotations

import json
import math

import pytest

from bakehouse.core.folder_lock import locked
from bakehouse.core.parse_json_toml_yaml import parse_toml
from bakehouse.recipe import Recipe
from bakehouse.serve.runs.blind_test import FILE
from bakehouse.serve.runs.problem_keys import key_in
from tests.serve.conftest import png
from tests.serve.finished_run import STATES, write_finished_run

SUBJECT = {"subject": "zwx girl", "kind": "character"}


def make_dataset(running, name: str, captions: list[str]):
    folder = running.server.datasets.root / name
    folder.mkdir(parents=True)
    for number, caption in enumerate(captions):
        (folder / f"{number}.png").write_bytes(png((128, 128), (17 * number, 90, 200)))
        (folder / f"{number}.txt").write_text(caption)
    return folder


def put(running, path: str, body):
    return running.client.put(path, json=body, headers=running.headers("train"))


@pytest.fixture(scope="module")
def photos(running):
    return make_dataset(running, "photos", ["zwx girl, smile", "zwx girl, angry", "zwx girl, sad", "zwx girl"])


@pytest.fixture
def waiting(running, photos, monkeypatch):
    """A training that waits, since nothing takes it from the queue."""
    monkeypatch.setattr(running.server.runs.queue, "claim_next", lambda device: None)
    body = {"dataset": "photos", **SUBJECT, "settings": {"adapter.rank": 4}, "name": "waits"}
    assert running.post("/api/v1/runs", body, "train").status_code == 201
    yield "/api/v1/runs/waits"
    running.delete("/api/v1/runs/waits", "train")


def test_a_training_of_the_command_line_runs_here_too_and_can_be_gone_on_with(running, photos, monkeypatch):
    monkeypatch.setattr(running.server.runs.queue, "claim_next", lambda device: None)
    begun = write_finished_run(running.server.runs.root / "typed", photos, evaluated=False)
    history = begun.events.read_text().splitlines(keepends=True)
    begun.events.write_text("".join(history[:2]))  # one step
    path = "/api/v1/runs/typed"
    with locked(begun.folder, "training"):
        row = running.get(path, "train").json()
        assert (row["state"], row["job"]) == ("running", None)
        for answer in (
            running.post(f"{path}/stop", {}, "train"),
            running.post(f"{path}/resume", {}, "train"),
            running.delete(path, "train"),
        ):
            assert answer.status_code == 409
            assert "is in use by process" in answer.json()["error"]["message"]
        assert begun.folder.is_dir()
    assert running.get(path, "train").json()["state"] == "stopped"
    row = running.post(f"{path}/resume", {}, "train").json()
    assert row["state"] == "waiting" and row["job"] is not None
    job = running.server.runs.job("typed")
    assert job.recipe == begun.recipe.read_text() and job.run == begun.folder.resolve()
    assert running.delete(path, "train").status_code == 200


def test_a_finished_training_is_not_queued_again(running, photos):
    write_finished_run(running.server.runs.root / "ended", photos, evaluated=False)
    answer = running.post("/api/v1/runs/ended/resume", {}, "train")
    assert answer.status_code == 409 and "is finished" in answer.json()["error"]["message"]


def test_a_form_can_be_made_of_the_schema(running):
    schema = running.get("/api/v1/recipe/schema", "train").json()
    parts = schema["$defs"]
    assert parts["LoRA"]["properties"]["rank"]["description"].startswith("Width of the bottleneck")
    assert "  " not in parts["PriorSpec"]["properties"]["source"]["description"]
    assert {"adamw", "prodigy"} <= set(parts["OptimizerSpec"]["properties"]["name"]["examples"])
    assert "dpm++ 2m" in parts["SampleSpec"]["properties"]["sampler"]["examples"]


def test_a_plan_says_which_settings_do_nothing(running, photos):
    body = {"dataset": "photos", **SUBJECT}
    plan = running.post("/api/v1/plans", body, "train").json()
    assert plan["idle"]["loss.huber_c"] == "does nothing without loss.kind = 'huber' or 'smooth_l1'"
    assert plan["idle"]["loss.mask_average"] == "does nothing without masks of the images"
    assert "adapter.rank" not in plan["idle"] and "train.steps" not in plan["idle"]
    huber = running.post("/api/v1/plans", {**body, "settings": {"loss.kind": "huber"}}, "train").json()
    assert "loss.huber_c" not in huber["idle"]


def test_each_wrong_setting_is_named_all_at_once(running, photos):
    wrong = {"adapter.kind": "loha", "adapter.dropout": 0.1, "adapter.rank": -1, "train.batch": "many", "seed": -4}
    answer = running.post("/api/v1/plans", {"dataset": "photos", **SUBJECT, "settings": wrong}, "train")
    assert answer.status_code == 400
    found = {row["key"]: row["message"] for row in answer.json()["error"]["problems"]}
    assert set(found) == {"adapter.rank", "train.batch", "seed"}
    assert found["adapter.rank"] == "adapter.rank = -1: should be greater than or equal to 1"
    wrong = {"adapter.kind": "loha", "adapter.dropout": 0.1}
    answer = running.post("/api/v1/plans", {"dataset": "photos", **SUBJECT, "settings": wrong}, "train").json()
    assert [row["key"] for row in answer["error"]["problems"]] == ["adapter.dropout"]
    assert str(running.folder) not in json.dumps(answer)


@pytest.mark.parametrize(
    ("message", "key"),
    [
        ("adapter.rank = -1: should be 1", "adapter.rank"),
        ("adapter: rank = 4 has no effect with kind = 'diff'", "adapter.rank"),
        ("seed = -1: should be 0", "seed"),
        ("concepts.0.repeats = 0: should be 1", "concepts.0.repeats"),
        ("optimizer.args.weight_decay = 'x': is no number", "optimizer.args.weight_decay"),
        ("with train.fused_backward nothing is clipped", "train.fused_backward"),
        ("unknown key 'adapter.rnk'; did you mean 'rank'?", ""),
        ("the photos are all the same", ""),
    ],
)
def test_a_message_is_shown_at_the_setting_that_it_names(message, key):
    assert key_in(message, Recipe) == key


def test_the_recipe_of_a_training_that_waits_is_changed(running, waiting):
    recipe = running.get(f"{waiting}/recipe", "train").json()["recipe"]
    recipe["adapter"] = {"kind": "lokr", "rank": 2}
    answer = put(running, f"{waiting}/recipe", {"recipe": recipe, "settings": {"train.epochs": 3}})
    assert answer.status_code == 200, answer.text
    assert answer.json()["place"] == 1
    job = running.server.runs.job("waits")
    values = parse_toml(job.recipe)
    assert (values["adapter"]["kind"], values["adapter"]["rank"], values["train"]["epochs"]) == ("lokr", 2, 3)
    assert job.is_intact
    assert values["concepts"][0]["folder"] == str((running.server.datasets.root / "photos").resolve())


def test_a_recipe_stays_if_the_new_one_is_wrong_or_the_training_has_begun(running, waiting):
    before = running.server.runs.job("waits").recipe
    for body, status in [
        ({"recipe": {"concepts": [{"folder": "/etc", "subject": "zwx girl"}]}}, 400),
        ({"recipe": {"adapter": {"rank": 0}}}, 400),
        ({"settings": {}}, 400),
        ({"dataset": "photos", "subject": "zwx girl", "name": "x"}, 422),
    ]:
        assert put(running, f"{waiting}/recipe", body).status_code == status
    assert put(running, "/api/v1/runs/nobody/recipe", {"dataset": "photos", **SUBJECT}).status_code == 404
    assert running.client.put(f"{waiting}/recipe", json={}, headers=running.headers("draw")).status_code == 403
    job = running.server.runs.job("waits")
    running.server.runs.queue.stop(job.id)
    with running.server.runs.queue._transaction() as db:
        db.execute("UPDATE jobs SET started = 1 WHERE id = ?", (job.id,))
    answer = put(running, f"{waiting}/recipe", {"dataset": "photos", **SUBJECT})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "begun")
    assert running.server.runs.job("waits").recipe == before


@pytest.fixture(scope="module")
def judged(running, photos):
    run = write_finished_run(running.server.runs.root / "judged", photos)
    return run, "/api/v1/runs/judged/blind-test"


def test_samples_have_the_epoch_that_they_were_drawn_in(running, judged):
    rows = running.get("/api/v1/runs/judged/samples", "train").json()["samples"]
    assert [(row["step"], row["epoch"], row["number"]) for row in rows if row["number"] == 0] == [
        (0, 0, 0), (4, 1, 0), (8, 2, 0),
    ]  # fmt: skip


def test_a_blind_test_counts_votes_by_whose_picture_was_chosen(running, judged):
    run, url = judged
    scores = json.loads((run.report / "scores.json").read_text())["pictures"]
    start = running.get(url, "train").json()
    assert [one["name"] for one in start["contenders"]] == ["base", *STATES]
    assert running.get(start["references"][0], "train").content[8:12] == b"WEBP"
    asked = f"question=subject&first=base&second={STATES[0]}"
    orders, sides = set(), set()
    for seed in range(6):
        pairs = running.get(f"{url}/pairs?{asked}&seed={seed}", "train").json()["pairs"]
        assert sorted(pair["number"] for pair in pairs) == [0, 1, 2, 3]
        assert not any("mrx" in pair["prompt"] for pair in pairs)
        orders.add(tuple(pair["number"] for pair in pairs))
        left = running.get(f"{url}/pairs/0/left?first=base&second={STATES[0]}&seed={seed}", "train").content
        sides.add(left == (run.report / scores["base/words/0"]).read_bytes())
    assert len(orders) > 1 and sides == {True, False}
    same = [running.get(f"{url}/pairs?{asked}&seed=3", "train").json() for _ in range(2)]
    assert same[0] == same[1]

    def vote(number: int, choice: str) -> str:
        body = {"question": "subject", "first": "base", "second": STATES[0], "seed": 1, "number": number}
        answer = running.post(f"{url}/votes", {**body, "choice": choice}, "train")
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def side_of_state(number: int) -> str:
        left = running.get(f"{url}/pairs/{number}/left?first=base&second={STATES[0]}&seed=1", "train").content
        return "left" if left == (run.report / scores[f"{STATES[0]}/subject/{number}"]).read_bytes() else "right"

    for number in range(3):
        vote(number, side_of_state(number))
    last = vote(3, "same")
    (result,) = running.get(url, "train").json()["results"]
    share = result["share"]
    assert (result["first"], result["second"], result["votes"], result["same"]) == ("base", STATES[0], 4, 1)
    z = 1.959964
    assert share["value"] == 1 and share["low"] == pytest.approx(3 / (3 + z * z)) and share["high"] == 1
    again = running.get(f"{url}/pairs?{asked}&seed=9", "train").json()["pairs"]
    assert all(pair["answered"] for pair in again)
    assert running.delete(f"{url}/votes/{last}", "train").status_code == 200
    assert running.delete(f"{url}/votes/{last}", "train").status_code == 404
    vote(0, {"left": "right", "right": "left"}[side_of_state(0)])  # in place of the first answer
    (result,) = running.get(url, "train").json()["results"]
    assert (result["votes"], result["share"]["value"]) == (3, pytest.approx(2 / 3))
    kept = json.loads((run.report / FILE).read_text())["votes"]
    assert len(kept) == 3 and not math.isnan(kept[0]["time"])

    changed = json.loads((run.report / "scores.json").read_text())
    changed["pictures"][f"{STATES[0]}/subject/0"] = "cache/pictures/other.webp"
    (run.report / "scores.json").write_text(json.dumps(changed))
    assert running.get(url, "train").json()["results"][0]["votes"] == 2  # the picture is no longer the one judged


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/pairs?question=subject&first=base&second={STATES[0]}x", 404),
        ("/pairs?question=subject&first=base&second=base", 400),
        ("/pairs?question=best&first=base&second=x", 422),
        (f"/pairs/0/middle?first=base&second={STATES[1]}", 400),
        (f"/pairs/99/left?first=base&second={STATES[1]}", 404),
        ("/photos/99", 404),
        ("/photos/-1", 404),
    ],
)
def test_a_blind_test_refuses_what_is_not_there(running, judged, path, status):
    answer = running.get(judged[1] + path, "train")
    assert answer.status_code == status, answer.text
    assert running.get(judged[1] + path, "draw").status_code == 403


def test_photos_outside_the_servers_folders_are_not_shown(running, photos, tmp_path):
    run = write_finished_run(running.server.runs.root / "elsewhere", photos)
    outside = tmp_path / "secret.png"
    outside.write_bytes(png())
    scores = json.loads((run.report / "scores.json").read_text())
    scores["references"] = [str(outside)]
    scores["pictures"] = dict.fromkeys(scores["pictures"], "../../../serve.db")
    (run.report / "scores.json").write_text(json.dumps(scores))
    url = "/api/v1/runs/elsewhere/blind-test"
    assert running.get(url, "train").json()["references"] == []
    assert running.get(f"{url}/photos/0", "train").status_code == 404
    answer = running.get(f"{url}/pairs/0/left?first=base&second={STATES[1]}", "train")
    assert answer.status_code == 400, answer.text


def test_a_run_without_an_evaluation_has_no_blind_test(running, photos):
    write_finished_run(running.server.runs.root / "unjudged", photos, evaluated=False)
    answer = running.get("/api/v1/runs/unjudged/blind-test", "train")
    assert answer.status_code == 404 and "evaluate" in answer.json()["error"]["hint"]


@pytest.fixture(scope="module")
def outfits(running):
    worn = ["teal overalls", "teal overalls", "white dress", ""]
    return make_dataset(running, "outfits", [f"1girl, blue eyes, {one}, smile".replace(", ,", ",") for one in worn])


def test_triggers_are_declared_explained_compiled_and_undone(running, outfits):
    url = "/api/v1/datasets/outfits"
    assert running.get(f"{url}/triggers", "train").json()["explanation"] is None
    triggers = [
        {"word": "zwx", "class_word": "girl"},
        {"word": "work", "kind": "outfit", "when": ["teal overalls"]},
    ]
    answer = put(running, f"{url}/triggers", {"triggers": triggers})
    assert answer.json()["step"]["operation"] == "triggers"
    found = running.get(f"{url}/triggers", "train").json()
    assert [one["word"] for one in found["triggers"]] == ["zwx", "work"]
    first, second = found["explanation"]["triggers"]
    assert [one["what"] for one in first["absorbs"]] == ["blue eyes"]
    assert [one["what"] for one in second["absorbs"]] == ["teal overalls"]
    areas = {tuple(one["triggers"]): one["images"] for one in found["explanation"]["together"]}
    assert areas == {("zwx", "work"): 2, ("zwx",): 2}
    assert found["captions"][0] == {
        "path": "0.png", "before": "1girl, blue eyes, teal overalls, smile", "after": "zwx girl, work, 1girl, smile",
    }  # fmt: skip
    assert found["changes"] == 4
    assert put(running, f"{url}/triggers", {"triggers": triggers}).json()["step"] is None
    assert put(running, f"{url}/triggers", {"triggers": []}).json()["step"]["operation"] == "triggers"
    assert not (outfits / "triggers.toml").exists()
    assert running.post(f"{url}/undo", {}, "train").status_code == 200
    assert len(running.get(f"{url}/triggers", "train").json()["triggers"]) == 2


def test_wrong_triggers_are_refused_by_name_and_change_nothing(running, outfits):
    url = "/api/v1/datasets/outfits/triggers"
    before = (outfits / "triggers.toml").read_bytes()
    wrong = [{"word": "a, b"}, {"word": "x", "strategy": "loose"}, {"word": "y", "sort": 1}]
    answer = put(running, url, {"triggers": wrong})
    assert answer.status_code == 400
    keys = [row["key"] for row in answer.json()["error"]["problems"]]
    assert keys[:2] == ["triggers.0.word", "triggers.1.strategy"]
    for body, status in [
        ({"triggers": [{"word": "x"}, {"word": "x"}]}, 400),
        ({"triggers": [{"word": f"x{n}"} for n in range(300)]}, 400),
        ({"triggers": "zwx"}, 422),
        ({}, 422),
    ]:
        assert put(running, url, body).status_code == status
    assert running.get(url, "draw").status_code == 403
    assert running.get("/api/v1/datasets/..%2fx/triggers", "train").status_code == 404
    assert (outfits / "triggers.toml").read_bytes() == before


def test_triggers_that_do_not_fit_are_shown_with_what_is_wrong(running, outfits, tmp_path):
    folder = make_dataset(running, "unfit", ["1girl"])
    (folder / "triggers.toml").write_text('[[triggers]]\nword = "zwx"\nwhen = ["hat"]\n')
    found = running.get("/api/v1/datasets/unfit/triggers", "train").json()
    assert found["triggers"][0]["word"] == "zwx" and "no image" in found["problem"]
    (folder / "triggers.toml").write_text("[[triggers]\n")
    assert "triggers.toml" in running.get("/api/v1/datasets/unfit/triggers", "train").json()["problem"]
    (folder / "triggers.toml").unlink()
    (tmp_path / "elsewhere.toml").write_text('[[triggers]]\nword = "zwx"\n')
    (folder / "triggers.toml").symlink_to(tmp_path / "elsewhere.toml")
    found = running.get("/api/v1/datasets/unfit/triggers", "train").json()
    assert found["triggers"] == [] and "link" in found["problem"]
    assert put(running, "/api/v1/datasets/unfit/triggers", {"triggers": [{"word": "x"}]}).status_code == 400
    assert (tmp_path / "elsewhere.toml").read_text() == '[[triggers]]\nword = "zwx"\n'
