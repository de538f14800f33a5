"""Verbs over many rows: enqueue, pause and resume, notify backends, prune. All processes but children."""
