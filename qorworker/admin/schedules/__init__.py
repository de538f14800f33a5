"""The pages about schedules. Web."""
