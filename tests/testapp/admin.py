from django.contrib import admin

from tests.testapp.models import Shop


@admin.register(Shop)
class ShopAdmin(admin.ModelAdmin):
    search_fields = ("name",)
