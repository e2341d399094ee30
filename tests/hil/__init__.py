"""Tests against a whole board: ``pytest tests/hil --board auto|PORT|sim|native``."""
