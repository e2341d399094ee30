"""What an agent must answer: the firmware's own C code, run on this machine with the same bundle."""

from host.client import Answer
from host.errors import AgentError
from train.agentlib import Agent
from train.errors import UserError


def expected_answer(agent: Agent, text: str) -> tuple[object, ...] | str:
    """Intent (None: rejected), best intent, score and slots in code points, or the agent's sentence about its error."""
    try:
        answer = agent.parse(text)
    except UserError as error:
        return str(error).rpartition(": ")[2]
    raw = text.encode()
    slots = tuple(
        (slot, len(raw[:start].decode()), len(raw[:end].decode()))
        for slot, start, end in answer.slots
        if answer.accepted
    )
    return (answer.intent if answer.accepted else None, answer.intent, answer.score, slots)


def given_answer(outcome: Answer | AgentError) -> tuple[object, ...] | str:
    """The same of an answer that came over the line."""
    if isinstance(outcome, AgentError):
        return outcome.message
    slots = tuple((slot.slot, slot.start, slot.end) for slot in outcome.slots)
    return (outcome.intent, outcome.best, outcome.score, slots)
