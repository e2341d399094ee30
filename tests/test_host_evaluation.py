"""What an agent's answers are to the metrics."""

from host.client import Answer, AnswerSlot
from host.errors import AgentError
from host.evaluation import prediction_of
from train.examples import Slot
from train.metrics import Prediction


def test_predictions_of_answers() -> None:
    slot = AnswerSlot("n", 4, 7, "def", 5)
    answer = Answer("abc def", "A", 0.9, "A", (slot,), {"z": "1", "b": "2"}, 12)
    assert prediction_of(answer) == Prediction("A", (Slot("n", 4, 7, 5),), (("b", "2"), ("z", "1")), 12)
    assert prediction_of(AgentError("words", "too many")) == Prediction(None, error="words")
