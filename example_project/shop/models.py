"""Shops and what they sell."""

from __future__ import annotations

from django.core.validators import MinValueValidator
from django.db import models


class Shop(models.Model):
    name = models.CharField(max_length=100, unique=True)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Product(models.Model):
    shop = models.ForeignKey(Shop, models.CASCADE, related_name="products")
    sku = models.CharField("SKU", max_length=20)
    name = models.CharField(max_length=200)
    price = models.DecimalField(max_digits=10, decimal_places=2, validators=[MinValueValidator(0)])
    stock = models.PositiveIntegerField(default=0)
    search_text = models.TextField(blank=True, editable=False)

    class Meta:
        ordering = ("shop", "sku")
        constraints = (models.UniqueConstraint(fields=("shop", "sku"), name="shop_one_product_per_sku"),)
        permissions = (("import_products", "Can import products"),)

    def __str__(self) -> str:
        return f"{self.sku} {self.name}"
