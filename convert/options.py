"""What may be asked of a conversion."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """What is asked of the result."""

    name: str | None = None
    """Of the agent; ``None``: data set and language."""
    most_loss: float = 0.02
    """Refuse an int8 model whose exact match is more than this below the float one's."""
    most_accepted: float = 0.0125
    """Share of validation sentences out of scope that the threshold may let through. Of what people said, home then
    accepts one in a hundred at most (0.5% to 1.0%, three seeds) and gets 86% to 93% of the commands right."""
    by_sentence: bool = False
    """The threshold counts every sentence alike, not the shares of those in and out of scope."""
