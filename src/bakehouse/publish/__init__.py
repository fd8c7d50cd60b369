"""Publishing of runs to a folder, a URL or the Hub: a model card, a gallery, the model in all formats."""

from bakehouse.publish.concerns import Concern
from bakehouse.publish.destination import Destination, Published
from bakehouse.publish.publication import PublicationPlan
from bakehouse.publish.publish_options import PublishSpec
from bakehouse.publish.publish_run import check_destination, open_destination, plan, publish

__all__ = [
    "Concern",
    "Destination",
    "PublicationPlan",
    "PublishSpec",
    "Published",
    "check_destination",
    "open_destination",
    "plan",
    "publish",
]
