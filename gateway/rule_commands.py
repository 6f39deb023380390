"""`homeward rules list`, `show RULE` and `check FILE`."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from typing import Any

from alerts.alert import Text
from alerts.rule import LimitsError, Parameter, Rule
from alerts.rules import PARAMETERS as BY_KEY
from alerts.rules import PROBLEMS, RULES
from gateway.language import Language
from gateway.rule_file import load_rules
from gateway.words import AUDIENCES, GROUPS, PARAMETERS, PRIORITIES, VITALS


def run(options: argparse.Namespace) -> int:
    """Run the action that was given. Exit status: 0 done, 2 the rule or the file cannot be used."""
    try:
        return {"list": _list, "show": _show, "check": _check}[options.action](options)
    except LimitsError as error:
        print(_say(error.text, options), file=sys.stderr)
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
        raise LimitsError(
            Text(
                en=f"{options.rule}: there is no such rule. Did you mean {' or '.join(near)}?",
                zh=f"{options.rule}：没有这条规则。您要找的是 {' 或 '.join(near)} 吗？",
            )
        )
    if options.json:
        print(json.dumps(_object(rule), ensure_ascii=False))
        return 0
    language = _language(options)
    print(f"{rule.name}: {language.text(rule.title)}")
    vitals = ", ".join(language.gettext(VITALS[vital]) for vital in rule.vitals)
    about = language.text(PROBLEMS[rule.problem])
    audience, priority = language.gettext(AUDIENCES[rule.audience]), language.gettext(PRIORITIES[rule.priority])
    said = language.gettext("about: {problem}; {vitals}; first to {audience}; {priority}")
    print(said.format(problem=about, vitals=vitals, audience=audience, priority=priority))
    for parameter in rule.parameters:
        number, bounds = _number(parameter.default, parameter), _bounds(parameter, language)
        meaning = language.gettext(PARAMETERS[parameter.name])
        print(f"  {parameter.name} ({meaning}): {number} ({bounds}): {language.text(parameter.source)}")
        for group, variant in parameter.variants.items():
            who = language.gettext(GROUPS[group])
            print(f"    {who}: {_number(variant.default, parameter)}: {language.text(variant.source)}")
    return 0


def _check(options: argparse.Namespace) -> int:
    book, language = load_rules(options.file), _language(options)
    layers = [("clinic", book.clinic), *((f"programme {name}", each) for name, each in book.programmes.items())]
    layers += [(f"patient {name}", each) for name, each in book.own.items()]
    can, region, population = (
        language.gettext(message) for message in ("can be used", GROUPS[book.region], GROUPS[book.population])
    )
    print(f"{options.file}: {can}: {region}, {population}")
    for scope, overrides in layers:
        for override in overrides:
            said = [
                language.gettext(message).format(day=day)
                for message, day in (("from {day}", override.first), ("to {day}", override.last))
                if day is not None
            ]
            more = "".join(f" {part}" for part in (*said, override.author) if part)
            for key, value in override.given.items():
                default = BY_KEY[key].default
                usual = language.gettext("usually {n}").format(n=f"{default:g}")
                meaning = f"{language.text(RULES[key.rule].title)}, {language.gettext(PARAMETERS[key.parameter])}"
                print(f"  {scope}: {key.rule}.{key.parameter} ({meaning}) {value:g} {key.unit} ({usual}){more}")
    return 0


def _language(options: argparse.Namespace) -> Language:
    return Language("zh_CN" if options.lang == "zh" else "en")


def _say(text: Text, options: argparse.Namespace) -> str:
    return text.zh if options.lang == "zh" else text.en


def _number(value: float, parameter: Parameter) -> str:
    return f"{value:g} {parameter.unit}"


def _bounds(parameter: Parameter, language: Language) -> str:
    return language.gettext("{lower} to {upper}").format(lower=f"{parameter.lower:g}", upper=f"{parameter.upper:g}")


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
