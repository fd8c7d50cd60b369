"""Publishing of runs to a folder, a URL or the Hub: a model card, a gallery, the model in all formats."""

from bakehouse.publish.concerns import Concern
from bakehouse.publish.destination import Destination, Published
from bakehouse.publish.publication import PublicationPlan
from bakehouse.publish.publish_options import PublishSpec
from bakehouse.publish.publish_run import Preview, check_destination, open_destination, plan, preview, publish

__all__ = [
    "Concern",
    "Destination",
    "Preview",
    "PublicationPlan",
    "PublishSpec",
    "Published",
    "check_destination",
    "open_destination",
    "plan",
    "preview",
    "publish",
]
