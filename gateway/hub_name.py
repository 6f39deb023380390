"""The name of a hub among those that share a PostgreSQL database."""

from __future__ import annotations

import os
import secrets
from typing import Final

from gateway.config import Config

NAME: Final = "hub-name"


def hub_name(config: Config) -> str | None:
    """Random, and kept in the data directory with the journal that the hub has watched; None where it is alone.

    Raises OSError.
    """
    if config.database is None:
        return None
    path = config.data / NAME
    if not path.exists():
        fresh = path.with_suffix(".new")
        fresh.touch(mode=0o600)
        with fresh.open("w", encoding="ascii") as file:
            file.write(secrets.token_hex(8))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    return path.read_text(encoding="ascii").strip()
