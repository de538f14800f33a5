"""Long trials with real workers and real faults. Each is repeated many times, in an order that a seed determines."""
