"""The dashboard, which is the page of the whole app, and what belongs to it: charts, failures, a box. Web."""
