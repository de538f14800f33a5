"""A child of a worker: it runs handlers, and restores what they leave behind."""
