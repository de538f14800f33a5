"""``manage.py runworker``: a parent, a fork server, and the children that run the handlers."""
