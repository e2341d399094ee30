"""Sentences that were written one by one for a language: commands as people give them, and what is none.

``sentences/LANGUAGE.tsv`` has a line for each, in order: the intent ("none": no command) and what it implies, a tab,
and the sentence, its slots marked::

    HassTurnOn domain=light	could we get the [attic]area lights on
"""

import re
from functools import lru_cache
from importlib.resources import files

from train.errors import UserError
from train.examples import Example, example_from_json

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
    intent, *implied = label.split(" ")
    if not all(re.fullmatch(r"\w+=\w+", pair) for pair in implied):
        raise ValueError(f'"{label}" must be an intent and, after spaces, slot=value for all that it implies')
    parts = SPAN.split(marked)  # text, words, slot, text, words, slot, ..., text
    slots, text = [], parts[0]
    for words, slot, after in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        slots.append({"slot": slot, "start": len(text), "end": len(text) + len(words)})
        text += words + after
    if re.search(r"[\[\]]", text):
        raise ValueError("a span must be marked as [words]slot")
    record = {"text": text, "intent": None if intent == NONE else intent, "slots": slots}
    return example_from_json({**record, "implied": dict(pair.split("=") for pair in implied)})
