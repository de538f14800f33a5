"""What ``@job`` makes of a function: job types, their options and their registry. All processes."""
