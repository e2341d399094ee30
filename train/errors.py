"""The one exception for what a person did wrong, as opposed to a bug."""


class UserError(Exception):
    """A mistake in the input or its use.

    The message names the thing, says what was expected and how to mend it. Command lines print it as
    ``error: …`` and exit with status 2.
    """
