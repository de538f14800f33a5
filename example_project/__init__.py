"""A small Django project that uses qorworker: a newsletter, a shop and reports."""
