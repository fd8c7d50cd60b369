"""Solvers make the latents that k-diffusion makes as A1111 calls it, within 1e-4, on small UNets of both kinds."""

import pytest
import torch
from safetensors.torch import load_file

from bakehouse.models import initial_noise, sample
from tools import solver_oracle as oracle

CASES = [(model, case) for model in oracle.MODELS for case in oracle.cases(model)]


@pytest.fixture(scope="module")
def networks():
    return {model: oracle.small_network(model) for model in oracle.MODELS}


@pytest.fixture(scope="module")
def known():
    return load_file(oracle.DATA)


class Model:
    """What the sampling loop asks of a model."""

    device = torch.device("cpu")

    def __init__(self, family, schedule):
        self.family, self.schedule = family, schedule


def latents(networks, model, case):
    network, schedule = networks[model]
    return sample(
        Model(model, schedule),
        lambda predict, x_t, t: network(x_t, t),
        noise=initial_noise([oracle.SEED], oracle.SHAPE),
        steps=case.steps,
        sampler=case.sampler,
        schedule=case.schedule,
        seeds=[oracle.SEED],
    )


@pytest.mark.parametrize(("model", "case"), CASES, ids=lambda v: getattr(v, "name", v))
def test_latents_are_those_in_the_file(networks, known, model, case):
    expected = known[f"{model}: {case.name}"]
    assert expected.std() > 0.1
    torch.testing.assert_close(latents(networks, model, case), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(bool(oracle.missing()), reason=f"not installed: {', '.join(oracle.missing())}")
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(("model", "case"), CASES, ids=lambda v: getattr(v, "name", v))
def test_latents_are_those_of_the_package(networks, model, case):
    expected = oracle.latents_of_k_diffusion(*networks[model], case)
    torch.testing.assert_close(latents(networks, model, case), expected, atol=1e-4, rtol=1e-4)


def test_the_file_has_every_case_and_no_other(known):
    assert sorted(known) == sorted(f"{model}: {case.name}" for model, case in CASES)
