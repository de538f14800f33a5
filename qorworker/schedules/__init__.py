"""When something is due: cron expressions, timetables, plans, and their descriptions. Pure."""
