"""Tools for adapter files: look, convert, merge, extract, resize, rescale, slice, edit, hash.

Sources are never changed: results are new files, whole or absent, unless the caller names the source as the place.
"""
