"""Numbers as people say them, in any language that Unicode's rule-based number formats (CLDR RBNF) cover."""

from functools import cache

from hassil.numbers import get_rbnf_engine
from unicode_rbnf.engine import RbnfError

_UNSPOKEN = ("financial", "verbose", "ordinal", "year")
"""Rule sets that nobody uses for a count in speech."""


@cache
def spoken(number: int | float, language: str) -> tuple[str, ...]:
    """All ways to say a number in a language, lowercase, most usual first; empty where none is known.

    Hyphens of compounds come both as they are and as spaces ("twenty-one", "twenty one").
    """
    try:
        texts = get_rbnf_engine(language).format_number(number).text_by_ruleset
    except (ValueError, RbnfError):  # no rules for the language, or for so large a number
        return ()
    words: dict[str, None] = {}
    for ruleset in sorted(texts, key=lambda name: (name != "spellout-cardinal", name)):
        text = texts[ruleset].replace("\N{SOFT HYPHEN}", "").lower().strip()
        if text and not any(part in ruleset for part in _UNSPOKEN) and not any(c.isdecimal() for c in text):
            words[text] = None
            words[text.replace("-", " ")] = None
    return tuple(words)
