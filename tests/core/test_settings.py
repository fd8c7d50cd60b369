from typing import Annotated, Literal

import pytest
from pydantic import Field

from bakehouse.core.errors import Problems, UsageError
from bakehouse.core.settings import Spec, parse_setting


class Lora(Spec):
    kind: Literal["lora"] = "lora"
    rank: Annotated[int, Field(ge=1)] = 4


class Lokr(Spec):
    kind: Literal["lokr"] = "lokr"
    factor: int = 8


class Top(Spec):
    name: str
    mode: Literal["fast", "slow"] = "fast"
    adapter: Annotated[Lora | Lokr, Field(discriminator="kind")] = Lora()
    many: tuple[Lora, ...] = ()


def problems(values):
    with pytest.raises(Problems) as e:
        Top.parse(values, source="me.toml")
    assert e.value.exit_code == 2
    assert "me.toml" in e.value.message
    return e.value.problems


def test_everything_wrong_is_told_at_once():
    found = problems({"nam": "x", "mode": "fats", "adapter": {"kind": "lora", "rnak": 3, "rank": 0}})
    assert len(found) == 5
    text = "\n".join(found)
    for part in ["'nam'", "did you mean 'name'", "name: is required", "mode = 'fats'", "did you mean 'fast'"]:
        assert part in text
    assert "unknown key 'adapter.rnak'; did you mean 'rank'?" in text
    assert "adapter.rank = 0" in text


def test_a_wrong_kind_lists_the_kinds():
    (found,) = problems({"name": "x", "adapter": {"kind": "lokrr"}})
    assert "adapter.kind = 'lokrr'" in found
    assert "lora, lokr" in found
    assert "did you mean 'lokr'" in found


def test_a_key_of_another_kind_is_compared_with_the_right_one():
    (found,) = problems({"name": "x", "adapter": {"kind": "lokr", "factr": 2}})
    assert found == "unknown key 'adapter.factr'; did you mean 'factor'?"


def test_lists_are_numbered():
    (found,) = problems({"name": "x", "many": [{"rank": 2}, {"rank": -1}]})
    assert found.startswith("many.1.rank = -1")


def test_settings():
    assert parse_setting("a.b=16") == ("a.b", 16)
    assert parse_setting("a = word") == ("a", "word")
    assert parse_setting("a=[1, 2]") == ("a", [1, 2])
    with pytest.raises(UsageError, match="no '='"):
        parse_setting("a")


def test_changes_keep_the_rest():
    top = Top(name="x", adapter=Lokr(factor=3))
    changed = top.with_values({"adapter.factor": 5, "mode": "slow"})
    assert changed == Top(name="x", mode="slow", adapter=Lokr(factor=5))
    assert top.adapter == Lokr(factor=3)


def test_a_file_that_is_no_toml(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        Top.load(tmp_path / "none.toml")
    path = tmp_path / "bad.toml"
    path.write_text("a = = 2")
    with pytest.raises(UsageError, match="line 1"):
        Top.load(path)
