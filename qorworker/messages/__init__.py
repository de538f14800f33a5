"""Rules for messages about jobs, and how a webhook is called. Pure: no ORM."""
