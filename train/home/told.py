"""Sentences that were written one by one for a language: commands as people give them, and what is none.

``sentences/LANGUAGE.tsv`` has a line for each, in order: the intent ("none": no command) and what it implies, a tab,
and the sentence, its slots marked::

    HassTurnOn domain=light	could we get the [attic]area lights on
"""

import re
from functools import lru_cache
from importlib.resources import files

from train.errors import UserError
from train.examples import Example, unmark

NONE = "none"
SPAN = re.compile(r"\[([^\[\]]+)\]([a-z_]+)")


@lru_cache(maxsize=2)
def own_sentences(language: str) -> tuple[Example, ...]:
    """All of a language; none if it has no file.

    Raises:
        UserError: a line is broken; names it.
    """
    path = files(__package__) / "sentences" / f"{language}.tsv"
    if not path.is_file():
        return ()
    examples = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            examples.append(example_of(line))
        except ValueError as error:
            raise UserError(f"{path}:{number}: {error}") from None
    return tuple(examples)


def example_of(line: str) -> Example:
    """The example that a line stands for.

    Raises ValueError, whose message says what is wrong.
    """
    label, tab, marked = line.partition("\t")
    if not tab:
        raise ValueError("there must be a tab between label and sentence")
    if not re.fullmatch(r"\w+( \w+=\w+)*", label):
        raise ValueError(f'"{label}" must be an intent and, after spaces, slot=value for all that it implies')
    intent, *implied = label.split(" ")
    text, slots = unmark(marked, SPAN, lambda match: (match[1], match[2], None))
    if re.search(r"[\[\]]", text):
        raise ValueError("a span must be marked as [words]slot")
    if not text.strip():
        raise ValueError("the sentence is empty")
    pairs = (pair.split("=") for pair in implied)
    return Example(text, None if intent == NONE else intent, slots, tuple(sorted((slot, v) for slot, v in pairs)))
