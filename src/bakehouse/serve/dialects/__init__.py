"""The APIs that the server speaks. Each translates to one internal request and back; a new one is a file and a line."""

from bakehouse.serve.dialects import own, system

DIALECTS = (system.SYSTEM, own.OWN)
"""In the order in which their routes are tried."""
