"""How things look in a terminal, in a log and as JSON."""
