"""How Alembic comes to the database: by the connection of `gateway.schema`, or by `alembic -x url=URL`."""

from __future__ import annotations

import logging

from alembic import context
from sqlalchemy import Connection

from alerts.database import connect
from gateway.schema import TABLES

logging.getLogger("alembic").setLevel(logging.WARNING)


def _migrate(db: Connection) -> None:
    context.configure(connection=db, target_metadata=TABLES)
    with context.begin_transaction():
        context.run_migrations()


if given := context.config.attributes.get("connection"):
    _migrate(given)
else:
    with connect(context.get_x_argument(as_dictionary=True)["url"]).begin() as own:
        _migrate(own)
