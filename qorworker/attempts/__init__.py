"""One attempt from its claim to its end: heard, written, rescued. Parents, Celery's processes and in-process runs."""
