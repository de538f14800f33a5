"""The pages of batches. Web."""
