"""The example project as it would run in production: its settings, and the files that start it."""
