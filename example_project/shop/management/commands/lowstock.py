"""Lists the products of which few are left. Staff run it as a job; see ``shop/jobs.py``."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from example_project.shop.models import Product, Shop


class Command(BaseCommand):
    help = "Lists the products of which few are left, shop by shop."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("shops", nargs="*", help="Names of shops; none stands for all shops.")
        parser.add_argument("--below", type=int, default=10, help="List products with fewer pieces than this.")
        parser.add_argument("--sort", choices=["sku", "stock"], default="sku", help="What the list is sorted by.")
        parser.add_argument("--strict", action="store_true", help="End with an error if there are any.")

    def handle(self, *, shops: list[str], below: int, sort: str, strict: bool, **options: Any) -> str:
        found = 0
        for shop in self.chosen(shops):
            for product in shop.products.filter(stock__lt=below).order_by(sort, "sku"):
                self.stdout.write(f"{shop}: {product.stock} of {product}")
                found += 1
        if found and strict:
            raise CommandError(f"{found} products have fewer than {below} pieces.", returncode=2)
        return f"{found} of {Product.objects.count()} products have fewer than {below} pieces."

    def chosen(self, names: list[str]) -> list[Shop]:
        shops = list(Shop.objects.filter(name__in=names) if names else Shop.objects.all())
        if unknown := sorted(set(names) - {shop.name for shop in shops}):
            self.stderr.write(f"There is no shop called {', '.join(unknown)}.")
        return shops
