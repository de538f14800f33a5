"""How a long-lived process talks to its database: limits, time-outs, what an error means. Workers of all kinds."""
