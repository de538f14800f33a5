"""Runs one attempt, and what a handler finds around it. Children, and wherever else handlers run."""
