"""The pages about workers. Web."""
