from django.db import migrations, models


def fill(apps, _):
    apps.get_model("shop", "Item").objects.create(name="one")


class Migration(migrations.Migration):
    operations = [
        migrations.RunSQL("SELECT count(*) FROM gate"),
        migrations.CreateModel(
            "Item",
            fields=[("id", models.AutoField(primary_key=True)), ("name", models.TextField())],
            options={"db_table": "items"},
        ),
        migrations.RunPython(fill),
        migrations.RunSQL("INSERT INTO applied VALUES ('first')"),
    ]
