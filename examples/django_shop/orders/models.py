"""What is sold, and what was ordered."""

from django.db import models


class Product(models.Model):
    """One thing for sale; a download is not physical and never runs out."""

    sku = models.SlugField(unique=True)
    name = models.CharField(max_length=100)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    is_physical = models.BooleanField(default=True)
    stock = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return str(self.name)


class Order(models.Model):
    """One order of one product; a guest has no customer name."""

    product = models.ForeignKey(Product, models.PROTECT)
    customer = models.CharField(max_length=100, blank=True)
    placed_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"order {self.pk}"
