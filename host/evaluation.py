"""Asking an agent for what train.metrics measures."""

from host.client import Answer, Client
from host.errors import AgentError
from train.errors import UserError
from train.examples import Slot
from train.metrics import Prediction


def outcome_of(agent: Client, text: str) -> Answer | AgentError:
    """The agent's answer to a sentence, or its own error.

    Raises BoardError, and UserError for what no line can carry.
    """
    try:
        return agent.parse(text)
    except AgentError as error:
        return error


def prediction_of(outcome: Answer | AgentError) -> Prediction:
    """The prediction in an agent's answer; an error of its own is one without an intent."""
    if isinstance(outcome, AgentError):
        return Prediction(None, error=outcome.code)
    slots = tuple(Slot(slot.slot, slot.start, slot.end, slot.value) for slot in outcome.slots)
    return Prediction(outcome.intent, slots, tuple(sorted(outcome.implied.items())), outcome.us)


def predict(agent: Client, text: str) -> Prediction:
    """What the agent makes of a sentence, whatever it is.

    Raises BoardError, and AgentError if the firmware has no agent.
    """
    try:
        outcome = outcome_of(agent, text)
    except UserError:
        return Prediction(None, error="unsendable")
    if isinstance(outcome, AgentError) and outcome.code == "agent":  # there is none
        raise outcome
    return prediction_of(outcome)
