"""The benchmarks' own arithmetic, and that every case really does its steps."""

from __future__ import annotations

import argparse
from itertools import islice

import pytest
import torch

from benchmarks import __main__ as bench
from benchmarks.case_process import CASES, measure
from benchmarks.device_flops import matmul_flops, step_flops
from benchmarks.models import make_model
from benchmarks.workloads import CPU, CUDA, LEAN, Workload


@pytest.mark.parametrize("who", list(CASES))
@pytest.mark.parametrize("name", ["tiny", "tiny-xl"])
def test_every_case_teaches_its_adapter(who, name, tmp_path):
    model = make_model(name, "cpu", torch.float32)
    before = {n: p.detach().clone() for n, p in model.unet.named_parameters()}
    workload = CPU[name][0]
    for _ in islice(CASES[who](workload, model, tmp_path), 2):
        pass
    frozen = {n: p for n, p in model.unet.named_parameters() if n in before}
    assert all(torch.equal(p, before[n]) for n, p in frozen.items())


def test_a_measurement_has_all_that_a_table_needs():
    found = measure("bare", Workload("tiny", 1, 64, warmup=0, steps=2))
    assert found["steps"] == 2 and found["seconds"] > 0 and found["peak_bytes"] > 0
    twice = step_flops(Workload("tiny", 2, 64), make_model("tiny", "cpu", torch.float32))
    assert twice == pytest.approx(2 * found["flops"], rel=0.05)


def test_running_out_of_memory_is_an_answer(monkeypatch):
    def burst(*args):
        raise torch.OutOfMemoryError("no more")

    monkeypatch.setattr("benchmarks.case_process.make_model", burst)
    assert measure("bakehouse", CPU["tiny"][0]) == {"error": "out of memory"}


def test_the_ceiling_is_a_speed():
    assert 1e8 < matmul_flops("cpu", "fp32", seconds=0.01) < 1e15


def test_a_table_says_what_was_not_measured():
    workload = Workload("tiny", 4, 64)
    cases = {
        "bare": [{"seconds": 0.5, "peak_bytes": 2**20, "flops": 5e9}],
        "bakehouse": [{"seconds": 1.0, "peak_bytes": 2**21}],
        "diffusers_peft": [{"error": "out of memory"}],
    }
    table = bench.table(workload, cases, ceiling=1e11)
    rows = list(zip(*(column._cells for column in table.columns), strict=True))
    assert rows[0] == ("bare minimum", "0.5000", "8.00", "1.00", "1 MiB", "10%")
    assert rows[1] == ("bakehouse", "1.0000", "4.00", "2.00", "2 MiB", "5%")
    assert rows[2][:2] == ("diffusers + PEFT", "out of memory")


def test_time_has_units():
    assert [bench.seconds_of(t) for t in ("90", "90s", "8m", "1h")] == [90, 90, 480, 3600]
    with pytest.raises(argparse.ArgumentTypeError, match="write 90s"):
        bench.seconds_of("soon")


def test_the_gpu_tables_are_those_that_were_asked_for():
    assert [(w.batch, w.side, w.rank) for w in CUDA["sd15"]] == [(1, 512, 32), (4, 512, 32), (8, 512, 32)]
    assert {w.side for w in CUDA["sdxl"]} == {1024}
    assert all(w.device == "cuda" for workloads in (*CUDA.values(), *LEAN.values()) for w in workloads)


def test_a_model_or_device_that_is_not_there_is_refused(capsys):
    with pytest.raises(SystemExit):
        bench.main(["--models", "sd15x"])
    assert "sd15x: not measured on cpu" in capsys.readouterr().err
