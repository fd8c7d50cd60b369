"""Publishing of runs: a model card, the model in every form that programs read, and its way to a folder or the Hub."""

from bakehouse.publish.concerns import Concern
from bakehouse.publish.destination import Destination, Published
from bakehouse.publish.publication import Plan
from bakehouse.publish.publish_options import PublishSpec
from bakehouse.publish.publish_run import Preview, check_destination, open_destination, plan, preview, publish

__all__ = [
    "Concern",
    "Destination",
    "Plan",
    "Preview",
    "PublishSpec",
    "Published",
    "check_destination",
    "open_destination",
    "plan",
    "preview",
    "publish",
]
