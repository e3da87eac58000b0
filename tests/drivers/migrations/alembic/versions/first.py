import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None


def upgrade():
    op.execute("SELECT count(*) FROM gate")
    items = op.create_table(
        "items",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text),
    )
    op.bulk_insert(items, [{"name": "one"}])
    op.execute("INSERT INTO applied VALUES ('first')")
