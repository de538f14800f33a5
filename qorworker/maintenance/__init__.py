"""What any runner does between jobs: fire schedules, rescue, expire, prune. Parents, cron and Celery's beat."""
