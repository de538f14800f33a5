"""What releases have left in databases: one file for each, from which the tests migrate. See ``states``."""
