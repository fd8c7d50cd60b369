"""Commands of bakehouse that requests start: each a process of its own, which outlives the server."""
