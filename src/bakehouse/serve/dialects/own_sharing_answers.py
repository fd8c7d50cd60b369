"""Answers of the own API about publications and shares, as OpenAPI describes them: see `own_answers`."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from bakehouse.serve.dialects.own_answers import Answer


class PublishingAnswer(Answer):
    """Where this server can publish to."""

    hub_token: str = Field(description="Where its token for the Hub is from; empty: it has none.")
    elsewhere: bool = Field(description="Whether the caller may publish outside of the server's own folder.")
    protocols: list[str]


class PublicationRow(Answer):
    """A folder of this server that a run was published to."""

    name: str
    files: int
    bytes: int
    changed: float = Field(description="Seconds since the epoch.")


class PublicationsAnswer(Answer):
    """The publications in folders of this server."""

    published: list[PublicationRow]


class PublishedFile(Answer):
    """A file of a publication."""

    name: str
    bytes: int


class PublicationAnswer(PublicationRow):
    """A publication with its files."""

    list: Sequence[PublishedFile]


class DrawnCounts(Answer):
    """Pictures that visitors have drawn."""

    day: int
    month: int


class ShareAnswer(Answer):
    """A share; times in seconds since the epoch, null: no limit, or as the model likes it."""

    name: str
    path: str = Field(description="The link, without the server's address.")
    model: str
    title: str
    intro: str
    subject: str | None
    negative: str
    templates: list[str]
    width: int | None
    height: int | None
    steps: int
    guidance: float | None
    prompt_characters: int
    day: int | None
    month: int | None
    address_day: int | None
    address_month: int | None
    gallery: bool
    embed: list[str]
    expires: float | None
    created: float
    revoked: float | None
    expired: bool
    served: bool = Field(description="Whether its model is there.")
    drawn: DrawnCounts
    reported: int = Field(description="Pictures with reports that were not answered.")


class SharesAnswer(Answer):
    """All shares."""

    shares: list[ShareAnswer]


class SharePictureAnswer(Answer):
    """A picture that a visitor has drawn."""

    id: str
    url: str
    prompt: str
    width: int
    height: int
    added: float
    shown: bool = Field(description="The visitor wants it in the gallery.")
    hidden: str = Field(description="Who has hidden it; empty: nobody.")
    flagged: bool = Field(description="Whether the safety checker has blackened it.")
    reports: int
    reasons: list[str]


class SharePicturesAnswer(Answer):
    """Pictures of a share, newest first."""

    pictures: list[SharePictureAnswer]
