from django.contrib import admin

from example_project.shop.jobs import change_prices
from example_project.shop.models import Product, Shop
from qorworker import run_on_selection


@admin.register(Shop)
class ShopAdmin(admin.ModelAdmin):
    search_fields = ("name",)


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    list_display = ("sku", "name", "shop", "price", "stock")
    list_filter = ("shop",)
    list_select_related = ("shop",)
    search_fields = ("sku", "name")
    actions = (run_on_selection(change_prices, argument="products"),)
