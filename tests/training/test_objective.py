"""What trains is an objective: a batch source and its loss."""

import dataclasses
import pickle

import torch

import bakehouse
from bakehouse.core.events import Step, result_of
from bakehouse.losses import Batch, DenoisingLoss, LossSpec, NoiseSpec
from bakehouse.models.load import load_model
from bakehouse.recipe import make_plan
from bakehouse.training.loop import run_loop
from bakehouse.training.prepare import build_components


def built(recipe):
    return result_of(build_components(make_plan(recipe), load_model(recipe.model.base)))


def test_batches_are_a_function_of_their_numbers(recipe):
    objective = built(recipe(train__accumulation=2))[0].objective
    assert objective.batch_sizes(0) == [2, 2]
    first, again, other = (objective.batch(0, part, torch.Generator().manual_seed(1)) for part in (0, 0, 1))
    assert len(first.latents) == 2
    assert torch.equal(first.latents, again.latents)
    assert not torch.equal(first.latents, other.latents)


def test_a_loss_goes_to_another_process(tiny):
    loss = DenoisingLoss(LossSpec(kind="huber"), NoiseSpec(offset=0.1), tiny.schedule)
    latents, cond = torch.ones(2, 4, 8, 8), tiny.encode_prompt(["a", "b"])
    batch = Batch(latents, cond, torch.ones(2), torch.zeros(2, dtype=torch.bool))
    copy = pickle.loads(pickle.dumps(loss))
    values = [fn(tiny, None, batch, torch.Generator().manual_seed(3)) for fn in (loss, copy)]
    assert torch.equal(*values)


@dataclasses.dataclass(frozen=True)
class Prompts:
    """An objective without images: the prediction from pure noise becomes small."""

    model: object

    def batch_sizes(self, step):
        return [2]

    def batch(self, step, part, generator):
        latents = torch.randn(2, 4, 8, 8, generator=generator)
        cond = self.model.encode_prompt(["zwx", "person"])
        return Batch(latents, cond, torch.ones(2), torch.zeros(2, dtype=torch.bool))

    def loss(self, model, adapter, batch, generator):
        return model(batch.latents, torch.full((2,), 999), batch.cond).square().mean(dim=(1, 2, 3))


def test_the_loop_trains_any_objective(recipe):
    components, state = built(recipe(train__steps=8, optimizer__lr=1e-2, schedule__kind="constant"))
    components = dataclasses.replace(components, objective=Prompts(components.model))
    losses = [e.loss for e in run_loop(components, state) if isinstance(e, Step)]
    assert len(losses) == 8
    assert losses[-1] < 0.9 * losses[0]


def test_the_earlier_name_of_train_still_works():
    assert bakehouse.bake is bakehouse.train
