from django.db import models


class Order(models.Model):
    number = models.IntegerField()


class Invoice(models.Model):
    order = models.IntegerField()


class Attempt(models.Model):
    """One start of a handler, written outside its transaction."""

    order = models.IntegerField()
