"""What the server keeps: one SQLite file for tokens, usage, jobs and the index of pictures."""
