"""The server: models of this machine behind HTTP, in the formats of four APIs. This package imports no torch.

`store` keeps tokens, usage, jobs and pictures; `work` is the only part that knows of worker processes; `guard` says
who may do what; `dialects` translate to one internal request and back; `app` puts them together.
"""
