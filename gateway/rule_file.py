"""Reading a rule file."""

from __future__ import annotations

import tomllib
from pathlib import Path

from alerts.alert import Text
from alerts.rule import LimitsError
from alerts.rules import RuleBook, parse_book


def load_rules(path: Path) -> RuleBook:
    """Read a rule file (TOML, docs/rules.md). Raises LimitsError with the file, the place and what to do."""
    try:
        return parse_book(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except OSError as error:
        because = error.strerror or error
        raise _refused(path, f"it cannot be read: {because}.", f"无法读取：{because}。") from error
    except UnicodeDecodeError as error:
        raise _refused(path, "it is not UTF-8; save it as UTF-8.", "不是 UTF-8；请存为 UTF-8。") from error
    except tomllib.TOMLDecodeError as error:
        raise _refused(
            path,
            f"it is not TOML: {error}. Write a day as 2026-03-01, or in quotes; words in quotes.",
            f"不是 TOML：{error}。日期请写作 2026-03-01，或加引号；文字须加引号。",
        ) from error
    except LimitsError as error:
        raise _refused(path, error.text.en, error.text.zh) from error


def _refused(path: Path, en: str, zh: str) -> LimitsError:
    """Each line with the file."""
    lines = ("\n".join(f"{path}: {line}" for line in said.splitlines()) for said in (en, zh))
    return LimitsError(Text(en=next(lines), zh=next(lines)))
