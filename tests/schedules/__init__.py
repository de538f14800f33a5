"""Tests of cron expressions, timetables and plans."""
