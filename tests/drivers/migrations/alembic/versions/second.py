import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"


def upgrade():
    op.add_column("items", sa.Column("price", sa.Integer))
    op.execute("UPDATE items SET price = 10")
    op.execute("INSERT INTO applied VALUES ('second')")
