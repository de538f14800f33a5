"""The commands of ``manage.py``, each the start of a process."""
