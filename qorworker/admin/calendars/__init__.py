"""The pages of calendars of days off. Web."""
