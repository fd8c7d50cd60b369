"""What every package depends on: errors, events, files, the run folder and the spec base. No torch here."""
