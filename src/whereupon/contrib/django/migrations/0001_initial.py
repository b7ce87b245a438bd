"""Make the tables of the ledger; if `whereupon ledger migrate` has made them, go on with those."""

from django.db import migrations, models

from whereupon.contrib.django.tables import drop, make


class Migration(migrations.Migration):
    """The tables as `whereupon.ledger.schema` has them, and the models that Django only reads."""

    initial = True
    operations = [
        migrations.RunPython(make, drop),
        migrations.CreateModel(
            name="Event",
            fields=[
                ("id", models.TextField(primary_key=True, serialize=False)),
                ("name", models.TextField()),
                ("published_at", models.BigIntegerField()),
                ("correlation_id", models.TextField()),
                ("causation_id", models.TextField(null=True)),
                ("subject", models.TextField(null=True)),
            ],
            options={"db_table": "whereupon_event", "managed": False},
        ),
        migrations.CreateModel(
            name="Delivery",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("subscription", models.TextField()),
                ("state", models.TextField(default="open")),
                ("due_at", models.BigIntegerField()),
                ("attempts", models.IntegerField(default=0)),
                ("crashes", models.IntegerField(default=0)),
                ("replays", models.IntegerField(default=0)),
                ("outcome", models.TextField(null=True)),
                ("error", models.TextField(null=True)),
                ("history", models.TextField(null=True)),
                ("done_at", models.BigIntegerField(null=True)),
            ],
            options={
                "db_table": "whereupon_delivery",
                "managed": False,
                "verbose_name_plural": "deliveries",
            },
        ),
    ]
