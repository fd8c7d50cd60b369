"""Tools for weights files: inspect, convert, merge, extract, resize, rescale, slice, edit the header, hash.

Sources are never changed. A result is a new file, complete or not written at all.
"""
