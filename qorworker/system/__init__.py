"""This machine: processes and memory. Pure; the parent, the fork server and children."""
