from django.apps import AppConfig


class NewsletterConfig(AppConfig):
    name = "example_project.newsletter"
    default_auto_field = "django.db.models.BigAutoField"
