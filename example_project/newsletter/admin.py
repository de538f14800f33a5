from django.contrib import admin

from example_project.newsletter.models import Delivery, Subscriber


@admin.register(Subscriber)
class SubscriberAdmin(admin.ModelAdmin):
    list_display = ("email", "name", "active")
    list_filter = ("active",)
    search_fields = ("email", "name")


@admin.register(Delivery)
class DeliveryAdmin(admin.ModelAdmin):
    list_display = ("subscriber", "job_id", "sent_at")
    list_select_related = ("subscriber",)
    autocomplete_fields = ("subscriber",)
