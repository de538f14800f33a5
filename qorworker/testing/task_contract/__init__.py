"""The contract for backends of Django's task framework, by subject. Test processes only."""
