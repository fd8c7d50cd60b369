"""Who may do what, and how much: callers, rules of routes, quotas, limits of requests, uploads."""
