"""Models for images: taggers, face and text detectors, segmenters, inpainting, upscalers, embeddings.

They do not change datasets: `curation`, `captions` and `audit` use their results.
"""
