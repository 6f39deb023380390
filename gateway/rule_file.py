"""Reading a rule file."""

from __future__ import annotations

import tomllib
from pathlib import Path

from alerts.rule import LimitsError
from alerts.rules import RuleBook, parse_book


def load_rules(path: Path) -> RuleBook:
    """Read a rule file (TOML, docs/rules.md). Raises LimitsError with the file, the place and what to do."""
    try:
        return parse_book(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except OSError as error:
        raise LimitsError(f"{path}: it cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise LimitsError(f"{path}: it is not UTF-8; save it as UTF-8.") from error
    except tomllib.TOMLDecodeError as error:
        raise LimitsError(
            f"{path}: it is not TOML: {error}. Write a day as 2026-03-01, or in quotes; words in quotes."
        ) from error
    except LimitsError as error:
        raise LimitsError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from error
