"""Examples in the API's own description, for every parameter, body and answer.

`examples.json` is one day at a small clinic: calls in order, each with what was answered. The tests make all of these
calls and compare the answers, so that no example says what the API does not do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI

_CALLS: Final = Path(__file__).with_name("examples.json")
_PROBLEM: Final = "application/problem+json"
_FIRST_ERROR: Final = 400


def calls() -> list[dict[str, Any]]:
    """The calls in their order: method, path, where (path parameters), query, body, status, answer."""
    told: list[dict[str, Any]] = json.loads(_CALLS.read_text(encoding="utf-8"))
    return told


class Described(FastAPI):
    """An app whose description has the examples."""

    def openapi(self) -> dict[str, Any]:
        """The description; made when it is first asked for."""
        if self.openapi_schema is None:
            _exemplify(super().openapi(), calls())
        return super().openapi()


def _exemplify(schema: dict[str, Any], made: list[dict[str, Any]]) -> None:
    usual = {str(call["status"]): call["answer"] for call in reversed(made)}
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            for _, answer in _problems(operation):
                answer["content"] = {_PROBLEM: _only(answer["content"])}
            for call in made:
                if (call["method"].lower(), call["path"]) == (method, path):
                    _tell(operation, call)
            for status, answer in _problems(operation):
                _only(answer["content"]).setdefault("example", usual[status])


def _tell(operation: dict[str, Any], call: Mapping[str, Any]) -> None:
    given = {**call.get("where", {}), **call.get("query", {})}
    for parameter in operation.get("parameters", []):
        if parameter["name"] in given:
            parameter.setdefault("example", given[parameter["name"]])
    if "body" in call and call["status"] < _FIRST_ERROR:
        _only(operation["requestBody"]["content"]).setdefault("example", call["body"])
    if content := operation["responses"][str(call["status"])].get("content"):
        _only(content).setdefault("example", call["answer"])


def _problems(operation: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((status, answer) for status, answer in operation["responses"].items() if int(status) >= _FIRST_ERROR)


def _only(content: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """What there is of the one type of media that an operation takes or gives."""
    (only,) = content.values()
    return only
