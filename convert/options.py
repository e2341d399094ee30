"""What may be asked of a conversion."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """What is asked of the result."""

    name: str | None = None
    """Of the agent; ``None``: data set and language."""
    most_loss: float = 0.02
    """Refuse an int8 model whose exact match is more than this below the float one's."""
    threshold: float = 0.92
    """The score that an answer must have. Of people's sentences that are no command, home's agents accept 0.7% to 0.9%,
    three seeds, and get 89% to 93% of their commands right; 0.94 accepts 0.5% to 0.8%, for about a point of commands.
    Where training had none it is 0: everything is accepted."""
    by_sentence: bool = False
    """The score's weights count every sentence alike, not the shares of those in and out of scope."""
