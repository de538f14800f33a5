"""What type checkers must say about code that uses qorworker. mypy reads it with the package; nothing runs it.

A line with ``type: ignore`` must be an error: mypy reports an ignore that it does not need.
"""
