"""The pages of messages: their rules, and what became of each message. Web."""
