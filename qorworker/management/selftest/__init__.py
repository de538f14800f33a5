"""What ``manage.py testworkers`` tests: each check is a function that returns a verdict. Command, workers, jobs."""
