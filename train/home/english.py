"""What English says differently from the bare templates: readings that win, what nobody says, what is a command.

Home Assistant resolves "kitchen lamp" by looking at the home; a model that does not know the home needs one
reading. These rules fix it: an area and the word for a class ("kitchen lights", "kitchen lamp") is that class in that
area; an area before another device's name is its area where the command takes both ("kitchen ceiling light", "living
room tv"), and part of the name where it does not. "All lights off" asks nothing, though Home Assistant's questions may
leave out their verb; "all lights off?" does.
"""

import re
from collections.abc import Callable
from dataclasses import replace

from train.home.templates import Draw

_ARTICLES = ("the", "my", "our")
_PROPER_DOMAINS = {"person", "weather"}
_PROPER = re.compile(r"^(home|away|work|school|church|university|college|daycare|kindergarten|upstairs|downstairs)$")
_ASKING = re.compile(
    r"\?|\b(is|are|was|were|has|have|do|does|did|can|could|am|what|whats|what's|which|who|whos|who's|where|wheres|how"
    r"|hows|if|whether|check|tell|see|show|know|wonder|any|anybody|anyone|left|forgot|or)\b",
    re.IGNORECASE,
)
_VERBS = re.compile(
    r"(activate|adjust|brighten|bring|change|close|cut|deactivate|dim|disable|enable|fire|flip|get|kill|light|lock"
    r"|lower|make|mow|mute|open|pause|power|put|raise|resume|roll|send|set|shut|skip|start|stop|switch|turn|unlock"
    r"|unmute|vacuum)\b"
)
_BARE_PLACES = ("home", "away", "upstairs", "downstairs")


_DOUBLED = {"cut", "dim", "flip", "get", "put", "set", "shut", "skip", "stop"}
_IRREGULAR = {
    **{verb: verb for verb in ("cut", "put", "set", "shut")},
    **{"bring": "brought", "get": "got", "light": "lit", "make": "made", "send": "sent"},
}


def gerund(command: str) -> str:
    """A command as what is being done: "opening the door"."""
    return _VERBS.sub(lambda verb: f"{_stem(verb[0])}ing", command, count=1)


def past(command: str) -> str:
    """A command as what was done: "opened the door"."""
    return _VERBS.sub(lambda verb: _IRREGULAR.get(verb[0], f"{_stem(verb[0])}ed"), command, count=1)


def _stem(verb: str) -> str:
    """What "ing" and "ed" are put to."""
    return verb + verb[-1] if verb in _DOUBLED else verb.removesuffix("e")


def clause(sentence: str) -> bool:
    """Whether a sentence is a single clause that another can be put to."""
    return not re.search(r"[,;:?!]|\b(please|when|if)\b", sentence.lower())


def imperative(sentence: str) -> bool:
    """Whether a command can stand after "do not": it begins with a verb and is a single clause."""
    return bool(_VERBS.match(sentence.lower())) and clause(sentence)


COMMAND_FORMS: dict[str, tuple[Callable[[str], bool], Callable[[str], str]]] = {
    "command": (imperative, str),
    "commanding": (imperative, gerund),
    "commanded": (imperative, past),
    "worded": (clause, str),
}
"""The lists that stand for a command in a template of what is not to be done: which fit, and how they stand there."""


def mend(draw: Draw) -> Draw | None:
    """The sentence as people say and read it, or None where they would not say it."""
    of_state = draw.template.intent == "HassGetState" and any(slot.slot == "state" for slot in draw.slots)
    if of_state and not _ASKING.search(draw.text):
        draw = replace(draw, text=f"{draw.text}?")
    for slot in draw.slots:
        words = draw.text[slot.start : slot.end]
        before = draw.text[: slot.start].split()
        after = draw.text[slot.end :].split()
        article = bool(before) and before[-1] in _ARTICLES
        names_device = slot.slot == "name" and not draw.template.text.count("timer_name")
        if names_device and _PROPER_DOMAINS.issuperset(draw.template.domains or ("",)) and article:
            return None
        if slot.slot in ("area", "name", "state", "floor") and article and ("'s " in words or _PROPER.match(words)):
            return None
        if slot.slot == "state" and "zone" in draw.template.text:
            bare = words in _BARE_PLACES
            preposition = [
                word for word in before if word in ("in", "on", "at", "of", "across", "around", "throughout")
            ]
            if bare == bool(preposition) or (preposition and preposition[-1] not in ("in", "at")):
                return None
            if not bare and not article and "'s " not in words and not _PROPER.match(words):
                return None
        if slot.slot == "area" and after:
            following = next((other for other in draw.slots if other.start > slot.end), None)
            if after[0] in _ARTICLES and following is not None and following.slot == "name":
                return None
            if words == "garage" and after[0].startswith("door"):
                return None
        if names_device and "light" in draw.template.domains and after[:1] and after[0].startswith(("light", "lamp")):
            return None  # "{name} lamp" is the name of a light again
        if slot.slot == "floor" and after[:1] == ["floor"]:
            return None
    return draw
