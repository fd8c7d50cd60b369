"""Images, captions, masks and buckets; no torch."""

from bakehouse.data.balance_repeats import balance_repeats, unbalanced
from bakehouse.data.buckets import (
    BucketRow,
    BucketSpec,
    Placement,
    assign,
    bucket_table,
    bucket_warnings,
    fit,
    fit_mask,
    kohya_bucket,
    make_buckets,
)
from bakehouse.data.captions import (
    CaptionFile,
    CaptionOptions,
    is_fixed,
    read_caption,
    split_tags,
    training_caption,
)
from bakehouse.data.dataset_formats import ConceptFolder, read_dataset
from bakehouse.data.image_records import ImageRecord, ImageSet, Skipped
from bakehouse.data.masks import load_mask
from bakehouse.data.open_image import ImageError, image_size, open_image, to_pixels
from bakehouse.data.scan import scan

__all__ = [
    "BucketRow",
    "BucketSpec",
    "CaptionFile",
    "CaptionOptions",
    "ConceptFolder",
    "ImageError",
    "ImageRecord",
    "ImageSet",
    "Placement",
    "Skipped",
    "assign",
    "balance_repeats",
    "bucket_table",
    "bucket_warnings",
    "fit",
    "fit_mask",
    "image_size",
    "is_fixed",
    "kohya_bucket",
    "load_mask",
    "make_buckets",
    "open_image",
    "read_caption",
    "read_dataset",
    "scan",
    "split_tags",
    "to_pixels",
    "training_caption",
    "unbalanced",
]
