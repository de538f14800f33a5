"""The page of queues and of what is paused. Web."""
