"""Our labels of sentences that people wrote for public data sets: how a home is really spoken to.

The text stays in the data set that it is from; ``crowd/LANGUAGE.jsonl`` has a line for each sentence, an example in
which a digest of the text stands for the text. A sentence is labelled only where two people would label it alike.
"""

import hashlib
import json
from functools import lru_cache
from importlib.resources import files
from typing import Any

from train.examples import Example, example_from_json


def digest(text: str) -> str:
    """What a sentence is known by: 64 bits of its SHA-256, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def labelled(text: str, language: str) -> Example | None:
    """The sentence with its label, out of scope as well; ``None``: it has none."""
    record = _labels(language).get(digest(text))
    return example_from_json({"text": text, **record}) if record else None


@lru_cache(maxsize=2)
def _labels(language: str) -> dict[str, dict[str, Any]]:
    path = files(__package__) / "crowd" / f"{language}.jsonl"
    if not path.is_file():
        return {}
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {record.pop("digest"): record for record in records}
