"""Networks that look at images: taggers, face detectors, segmentation, text detection, upscalers, embeddings.

They change no dataset; `curation`, `captions` and `audit` decide what to do with what they see.
"""
