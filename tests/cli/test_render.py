from __future__ import annotations

import json

import pytest

from bakehouse.cli.render.events import progress_renderer, render_events
from bakehouse.core import events as ev
from bakehouse.core.errors import BakehouseError
from bakehouse.core.units import duration, number, size


def step(i, **changes):
    values = {
        "step": i, "epoch": 1, "loss": 0.5, "subject_loss": 0.75, "prior_loss": 0.25, "images_per_s": 8.0,
        "rates": {"unet": 1e-3}, "memory": 1_200_000_000, "time": 1000.0 + i,
    }  # fmt: skip
    return ev.Step(**values | changes)


def run(steps=4, **changes):
    yield ev.Started(run="runs/x", step=0, steps=steps, epochs=2, device="cpu")
    yield ev.Progress(what="encoding images", done=1, total=2)
    yield ev.Progress(what="encoding images", done=2, total=2)
    for i in range(1, steps + 1):
        yield step(i, **changes)
    yield ev.Warned(message="three images are small")
    yield ev.Saved(step=steps, epoch=2, path="runs/x/weights/x.safetensors")
    yield ev.Finished(step=steps, seconds=12.0, weights="runs/x/weights/x.safetensors")


def test_rates_are_shown_apart_where_they_differ(capsys):
    rates = {"unet": 1e-3, "unet x 16": 1.6e-2, "text": 2e-3}
    render_events(run(rates=rates))
    render_events(run(rates=rates | {"text": 1e-3}))
    render_events(run(rates={"unet x 0.5": 5e-4, "unet x 2": 2e-3}))
    err = capsys.readouterr().err
    assert "  lr unet 1.0e-03 text 2.0e-03  " in err
    assert "  lr 1.0e-03  " in err
    assert "  lr unet x 0.5 5.0e-04 unet x 2 2.0e-03  " in err


def test_a_log_gets_plain_lines_with_subject_and_prior_apart(capsys):
    render_events(run())
    out, err = capsys.readouterr()
    assert out == ""
    assert "\x1b" not in err
    assert "training runs/x on cpu: 4 steps in 2 epochs" in err
    assert "encoding images 2/2" in err
    assert "step 4/4  epoch 1/2  loss 0.5000  subject 0.7500  prior 0.2500  lr 1.0e-03  8.0 images/s  1.2 GB" in err
    assert err.rstrip().endswith("finished: 4 steps in 12 s")


def test_without_class_images_there_is_one_loss(capsys):
    render_events(run(prior_loss=None, subject_loss=0.5))
    err = capsys.readouterr().err
    assert "loss 0.5000  lr" in err
    assert "prior" not in err


def steps(count, seconds):
    yield ev.Started(run="r", step=0, steps=count, epochs=1, device="cpu")
    yield from (step(i, time=1000.0 + seconds * i) for i in range(1, count + 1))


@pytest.mark.parametrize(
    ("count", "seconds", "lines"),
    [
        (2000, 0.05, 20),  # a line for each twentieth
        (100, 0.01, 1),  # over in a second: the last line alone
        (100, 5.0, 50),  # slow: a line every ten seconds
    ],
)
def test_how_many_lines_a_log_gets(capsys, count, seconds, lines):
    render_events(steps(count, seconds))
    assert len(capsys.readouterr().err.splitlines()) - 2 == pytest.approx(lines, abs=1)


def test_json_is_one_event_a_line_and_nothing_else(capsys):
    render_events(run(), json=True)
    out, err = capsys.readouterr()
    assert err == ""
    found = [ev.Event.from_json(json.loads(line)) for line in out.splitlines()]
    assert [type(e) for e in found] == [type(e) for e in run()]


def test_quiet_leaves_warnings(capsys):
    render_events(run(), quiet=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.strip() == "warning: three images are small"


def test_what_failed_is_an_error_that_names_the_way_on():
    with pytest.raises(BakehouseError, match="loss is not a number") as e:
        render_events([ev.Failed(step=3, error="loss is not a number", last_good="runs/x/checkpoints/step-2")])
    assert "runs/x/checkpoints/step-2" in e.value.hint


def test_a_summary_gets_what_happened_once():
    kept = render_events(run(), quiet=True)
    assert [type(e) for e in kept] == [ev.Started, ev.Warned, ev.Saved, ev.Finished]


ODD = "[red]a[/] [model] x :smile: [link=y]"


def test_a_users_text_is_shown_as_it_stands(capsys, monkeypatch):
    """Section names, file names and captions may look like rich's markup and its names of emoji."""
    from rich.table import Table

    from bakehouse.cli.render import consoles

    table = Table(title=ODD, box=None)
    table.add_column(ODD)
    table.add_row(ODD)
    consoles.print_table(table)
    assert capsys.readouterr().out.count(ODD) == 3
    consoles.print_warnings([ODD])
    consoles.stderr_console().print(ODD)
    with progress_renderer() as render:
        render(ev.Warned(message=ODD))
    assert capsys.readouterr().err.count(ODD) == 3


def test_bars_show_a_users_text_as_it_stands(capsys, monkeypatch):
    from bakehouse.cli.render import consoles, events

    monkeypatch.setattr(consoles.sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "140")
    with events.progress_renderer() as render:
        render(ev.Progress(what=ODD, done=1, total=4))
    with consoles.spinner(ODD):
        pass
    assert capsys.readouterr().err.count("[red]a[/]") >= 2


def test_a_finding_is_shown_as_it_stands(capsys):
    from bakehouse.audit import Finding, Report
    from bakehouse.cli.render.audit import print_audit

    finding = Finding(id="odd", level="warning", title="", why=ODD, files=("[0].png",), advice=ODD)
    print_audit(Report("set", 1, 0, (finding,), ()), quiet=True)
    out = capsys.readouterr().out
    assert "[0].png" in out
    assert out.count("[red]a[/]") == 2


def test_bars_in_a_terminal(monkeypatch, capsys):
    from rich.console import Console

    console = Console(force_terminal=True, width=140, stderr=True)
    monkeypatch.setattr("bakehouse.cli.render.events.stderr_console", lambda: console)
    render_events(run())
    err = capsys.readouterr().err
    assert "training" in err
    assert "subject 0.7500  prior 0.2500" in err
    assert "saved runs/x/weights/x.safetensors" in err


@pytest.mark.parametrize(
    ("shown", "meant"),
    [
        (duration(3.21), "3.2 s"), (duration(95), "95 s"), (duration(720), "12 min"), (duration(12_000), "3 h 20 min"),
        (size(640_000), "640 kB"), (size(35e6), "35 MB"), (size(1.2e9), "1.2 GB"),
        (number(0.04123), "0.0412"), (number(None), "-"),
    ],
)  # fmt: skip
def test_units(shown, meant):
    assert shown == meant
