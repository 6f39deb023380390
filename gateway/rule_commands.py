"""`homeward rules list`, `show RULE` and `check FILE`."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from typing import Any

from alerts.alert import Text
from alerts.rule import LimitsError, Parameter, Rule
from alerts.rules import PARAMETERS, RULES
from gateway.rule_file import load_rules


def run(options: argparse.Namespace) -> int:
    """Run the action that was given. Exit status: 0 done, 2 the rule or the file cannot be used."""
    try:
        return {"list": _list, "show": _show, "check": _check}[options.action](options)
    except LimitsError as error:
        print(error, file=sys.stderr)
        return 2


def _list(options: argparse.Namespace) -> int:
    if options.json:
        print(json.dumps([_object(rule) for rule in RULES.values()], ensure_ascii=False))
        return 0
    width = max(map(len, RULES))
    for rule in RULES.values():
        audience, priority = rule.audience.value, rule.priority.name.lower()
        print(f"{rule.name:<{width}}  {audience:<7}  {priority:<6}  {_say(rule.title, options)}")
    return 0


def _show(options: argparse.Namespace) -> int:
    rule = RULES.get(options.rule)
    if rule is None:
        near = difflib.get_close_matches(options.rule, RULES, 3) or list(RULES)[:3]
        raise LimitsError(f"{options.rule}: there is no such rule. Did you mean {' or '.join(near)}?")
    if options.json:
        print(json.dumps(_object(rule), ensure_ascii=False))
        return 0
    print(f"{rule.name}: {_say(rule.title, options)}")
    print(f"about {rule.problem}; {', '.join(rule.vitals)}; first to {rule.audience}, {rule.priority.name.lower()}")
    for parameter in rule.parameters:
        said = _say(parameter.source, options)
        print(f"  {parameter.name}: {_number(parameter.default, parameter)} ({_bounds(parameter)}): {said}")
        for group, variant in parameter.variants.items():
            said = _say(variant.source, options)
            print(f"    {group}: {_number(variant.default, parameter)}: {said}")
    return 0


def _check(options: argparse.Namespace) -> int:
    book = load_rules(options.file)
    layers = [("clinic", book.clinic), *((f"programme {name}", each) for name, each in book.programmes.items())]
    layers += [(f"patient {name}", each) for name, each in book.own.items()]
    print(f"{options.file} can be used: {book.region}, {book.population}.")
    for scope, overrides in layers:
        for override in overrides:
            days = "".join(
                f" {word} {day}" for word, day in (("from", override.first), ("to", override.last)) if day is not None
            )
            author = f" by {override.author}" if override.author else ""
            for key, value in override.given.items():
                print(f"  {scope}: {key.rule}.{key.parameter} {value:g} {key.unit}{days}{author}", end="")
                print(f" (usually {PARAMETERS[key].default:g})")
    return 0


def _say(text: Text, options: argparse.Namespace) -> str:
    return text.zh if options.lang == "zh" else text.en


def _number(value: float, parameter: Parameter) -> str:
    return f"{value:g} {parameter.unit}"


def _bounds(parameter: Parameter) -> str:
    return f"{parameter.lower:g} to {parameter.upper:g}"


def _object(rule: Rule) -> dict[str, Any]:
    return {
        "rule": rule.name,
        "title": {"en": rule.title.en, "zh": rule.title.zh},
        "problem": rule.problem,
        "vitals": list(rule.vitals),
        "priority": rule.priority.name.lower(),
        "audience": rule.audience,
        "parameters": [
            {
                "name": parameter.name,
                "unit": parameter.unit,
                "default": parameter.default,
                "lower": parameter.lower,
                "upper": parameter.upper,
                "source": {"en": parameter.source.en, "zh": parameter.source.zh},
                "variants": {
                    group: {"default": variant.default, "source": {"en": variant.source.en, "zh": variant.source.zh}}
                    for group, variant in parameter.variants.items()
                },
            }
            for parameter in rule.parameters
        ],
    }
