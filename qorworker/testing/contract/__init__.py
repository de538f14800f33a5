"""The contract for backends, by subject. Test processes only."""
