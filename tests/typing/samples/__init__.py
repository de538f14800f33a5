"""Right and wrong uses. A wrong one ends with what both checkers say about its line::

    add.enqueue(first="1")  # error: arg-type | reportArgumentType | "first"

These are the code of mypy, the rule of pyright, and a text that stands in the message of each. A dash means that the
checker says nothing, and a plus that mypy says it only with the plugin of the package.
"""
