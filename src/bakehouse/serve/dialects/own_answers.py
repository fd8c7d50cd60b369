"""Answers of the own API as OpenAPI describes them: drawing, jobs, pictures, usage, tokens and tasks.

Those about datasets are in `own_dataset_answers.py`, those about runs, plans and prompts in `own_run_answers.py`.

Routes answer with what they have; nothing is converted by these models. That the models are true is held by the tests,
where every answer of a described route is read by its model, which knows no other keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from bakehouse.serve.dialects.own_dialect import SHOWN


class Answer(BaseModel):
    """A JSON answer."""

    model_config = ConfigDict(extra="forbid")


class QuotaAnswer(Answer):
    """Limits of a caller; null: none."""

    characters_per_month: int | None
    pictures_per_month: int | None
    requests_per_minute: int | None
    concurrent: int | None = Field(description="Requests at once.")


class UsedAnswer(Answer):
    """What a caller has used this month, and what is reserved for it."""

    characters: int
    pictures: int


class MeAnswer(Answer):
    """The caller."""

    name: str
    scopes: list[str]
    quota: QuotaAnswer
    used: UsedAnswer


class ModelAdapter(Answer):
    """An adapter of a served model."""

    name: str
    strength: float
    range: tuple[float, float] | None = Field(description="Lowest and highest useful strength, if measured.")


class ModelRow(Answer):
    """A served model."""

    name: str
    title: str
    state: str = Field(description="Whether it is in memory.")
    estimated_time: float = Field(description="Seconds until it could draw.")
    native_size: int = Field(description="Side in pixels.")
    adapters: list[ModelAdapter]
    triggers: list[str]
    run: str | None = Field(description="The run that it was trained in, if it is served from one.")
    base: str | None = Field(description="The base model's name, if there are adapters on it.")
    bytes: int = Field(description="Size of its files.")


class DeviceMemory(Answer):
    """How much of a device's memory models take."""

    device: str
    bytes: int
    budget: int = Field(description="The most that they may take, in bytes.")


class ModelsAnswer(Answer):
    """The served models."""

    models: list[ModelRow]
    memory: list[DeviceMemory]


class OptionsAnswer(Answer):
    """What requests may ask for."""

    samplers: list[str]
    schedules: list[str]
    upscalers: list[str]
    limits: dict[str, int]


class DrawnPicture(Answer):
    """A picture that was waited for."""

    image: str = Field(description="The file, in base64.")
    media_type: str
    seed: int
    width: int
    height: int
    infotext: str
    flagged: bool = Field(description="Whether the safety checker has blackened it.")


class DrawAnswer(Answer):
    """The pictures of one request, in order."""

    model: str
    pictures: list[DrawnPicture]


class PictureRow(Answer):
    """A picture of a job."""

    id: str
    job: str
    number: int = Field(description="Place in its job, from 0.")
    model: str
    prompt: str
    seed: int
    width: int
    height: int
    infotext: str
    made: float = Field(description="Seconds since the epoch.")
    starred: int = Field(description="1: marked by its caller.")
    url: str


class PicturesAnswer(Answer):
    """Pictures, newest first."""

    pictures: list[PictureRow]


class DeletedAnswer(Answer):
    """What was deleted."""

    deleted: str


class StarAnswer(Answer):
    """A picture and its mark."""

    id: str
    starred: int


class JobAnswer(Answer):
    """A job; times in seconds since the epoch."""

    id: str
    state: str = Field(description="waiting, running, done, failed or canceled.")
    model: str
    prompt: str
    count: int
    error: str
    place: int | None = Field(description="In the queue; null if it does not wait.")
    progress: float = Field(description="0 to 1.")
    added: float
    ended: float | None
    pictures: list[PictureRow]


class JobsAnswer(Answer):
    """Jobs, newest first."""

    jobs: list[JobAnswer]


class UsageRow(Answer):
    """One entry of the ledger."""

    id: int
    time: float = Field(description="Seconds since the epoch.")
    caller: str
    token: str
    dialect: str
    model: str
    characters: int
    pictures: int
    seconds: float
    status: str = Field(description="reserved, done or refunded.")


class UsageAnswer(Answer):
    """Entries, oldest first."""

    usage: list[UsageRow]


class SessionAnswer(Answer):
    """Whose token is kept."""

    name: str
    scopes: list[str]


class EmptyAnswer(Answer):
    """Nothing more than that it was done."""


class TokenAnswer(Answer):
    """A token without its text; times in seconds since the epoch."""

    name: str
    scopes: list[str]
    quota: QuotaAnswer
    created: float
    revoked: float | None


class NewTokenAnswer(TokenAnswer):
    """A new token."""

    token: str = Field(description="Its text, which is in this answer alone.")


class TokenRow(TokenAnswer):
    """A token and what was used with it."""

    used: UsedAnswer


class TokensAnswer(Answer):
    """All tokens, oldest first."""

    tokens: list[TokenRow]


class TaskProgress(Answer):
    """How far a task is."""

    what: str
    done: int
    total: int


class TaskRow(Answer):
    """A task; times in seconds since the epoch."""

    id: str
    kind: str
    subject: str = Field(description="The dataset or run that it works on.")
    title: str
    command: str = Field(description="The same as a command line.")
    state: str = Field(description="waiting, running, done, failed or canceled.")
    progress: TaskProgress | None
    place: int | None = Field(description="Tasks before it; null if it does not wait.")
    error: str
    added: float
    ended: float | None


class TaskAnswer(TaskRow):
    """A task with its result."""

    result: Any = Field(description="What the command prints as JSON; null until it is done.")


class TasksAnswer(Answer):
    """Tasks, newest first."""

    tasks: list[TaskRow]


def answers(
    model: type[Answer], status: int = 200, *also: int, others: Mapping[int, type[Answer]] | None = None
) -> dict[str, Any]:
    """Return the options of a route that OpenAPI describes with its answer.

    Args:
        model: the answer.
        status: the route's own, of an answer that succeeds.
        also: other statuses of the same answer.
        others: other answers, by their statuses.
    """
    models = {**dict.fromkeys((status, *also), model), **(others or {})}
    described = {code: {"model": one} for code, one in models.items()}
    return {**SHOWN, "status_code": status, "responses": described}
