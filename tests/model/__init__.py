"""A small model of how workers own jobs, searched exhaustively: ``python -m tests.model``.

Without a database and without processes: a state is a tuple, a step is a function. What two workers, the people and the
faults may do next is written down in ``steps.py``, each rule that keeps them from harm in ``rules.py``. ``search.py``
visits every state that can be reached. With all rules none of
them is forbidden; without any one of the rules one is.
"""
