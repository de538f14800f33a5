"""The same job for several queues. What is in here runs in environments that have nothing else of the tests."""
