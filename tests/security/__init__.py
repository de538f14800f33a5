"""Hostile requests and inputs, as in a catalogue of attacks: what each case expects is in ``register.py``.

Three tests are generated from the URLs that there are, so that a new page cannot be forgotten: who gets what answer to
which method (``test_matrix.py``; a URL that is not in ``matrix.py`` fails), that safe methods write nothing
(``test_safe_methods.py``), and that a secret is nowhere and markup is text everywhere (``test_canary.py``).
"""
