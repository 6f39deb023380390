"""Tables and diagrams of states and events as Markdown, drawn from what the code does into documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DOCS: Final = Path(__file__).parents[2] / "docs"
_END: Final = "<!-- end of the drawing -->\n"


@dataclass(frozen=True, slots=True)
class Drawing:
    """What a module of this folder draws between two marks of a document."""

    document: str
    by: str
    draw: Callable[[], str]

    @property
    def text(self) -> str:
        """The document as it is."""
        return (DOCS / self.document).read_text(encoding="utf-8")

    @property
    def redrawn(self) -> str:
        """The document with the drawing renewed."""
        mark = f"<!-- drawn by tests/alerts/{self.by}.py -->\n"
        before, found, rest = self.text.partition(mark)
        assert found, f"docs/{self.document} has no place for the drawing of {self.by}"
        return before + mark + self.draw() + _END + rest.partition(_END)[2]

    def renew(self) -> None:
        """Write it down."""
        (DOCS / self.document).write_text(self.redrawn, encoding="utf-8")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [["", *head], ["---"] * (len(head) + 1), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def diagram(states: Iterable[str], ways: Mapping[tuple[str, str], Sequence[str]]) -> str:
    """ways: what leads from one state to another; "none" is the beginning."""
    lines = [f'    state "{each}" as {_name(each)}' for each in states if each != "none"]
    lines += [f"    {_name(one)} --> {_name(other)}: {'<br>'.join(by)}" for (one, other), by in ways.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```", ""])


def _name(state: str) -> str:
    return "[*]" if state == "none" else state.replace(", ", "_").replace(" ", "_")
