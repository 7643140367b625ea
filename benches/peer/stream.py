"""What both peers share of the stream: the worker's environment variables, dead letters, and stopping at SIGTERM."""

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from .posts import Message, Refused

PREFIX = "SENTISTREAM__"


@dataclass(frozen=True)
class Settings:
    """What the worker is told, by its own defaults."""

    brokers: str
    group: str
    input_topic: str
    output_topic: str
    dead_letter_topic: str
    bundle: Path
    effects: bool

    @property
    def consumer(self) -> dict[str, Any]:
        """librdkafka's options that are no matter of taste."""
        return {"bootstrap.servers": self.brokers, "group.id": self.group, "auto.offset.reset": "earliest"}

    @property
    def producer(self) -> dict[str, Any]:
        """As above; keys go where Java's producer, and the worker, puts them."""
        return {"bootstrap.servers": self.brokers, "partitioner": "murmur2_random"}


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """From the variables of config/default.yaml."""

    def value(section: str, key: str, default: str) -> str:
        return environment.get(f"{PREFIX}{section}__{key}", default)

    return Settings(
        brokers=value("KAFKA", "BROKERS", "localhost:9092"),
        group=value("KAFKA", "GROUP", "sentistream"),
        input_topic=value("KAFKA", "INPUT_TOPIC", "posts"),
        output_topic=value("KAFKA", "OUTPUT_TOPIC", "sentiments"),
        dead_letter_topic=value("KAFKA", "DEAD_LETTER_TOPIC", "posts-dead-letters"),
        bundle=Path(value("MODEL", "BUNDLE", "models/default")),
        effects=value("MODEL", "EFFECTS", "true") != "false",
    )


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))


def dead_letter(message: Message, refused: Refused) -> dict[str, Any]:
    """The record as it came, and why: arguments of Producer.produce, but for the topic."""
    told = {
        "dlq.reason": refused.reason,
        "dlq.detail": refused.detail,
        "dlq.stage": "decode",
        "dlq.origin": f"{message.topic()}/{message.partition()}/{message.offset()}",
        "dlq.at": datetime.now(UTC).isoformat(),
        "dlq.attempts": "1",
    }
    own = [(name, value) for name, value in message.headers() or [] if not name.startswith("dlq.")]
    return {"key": message.key(), "value": message.value(), "headers": [*own, *((name, text.encode()) for name, text in told.items())]}


class Stop:
    """Whether SIGTERM or SIGINT came."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.ask)

    def ask(self, _number: int, _frame: FrameType | None) -> None:
        """What is in flight is finished first."""
        self.asked = True


def told_delivered(error: object, _message: object) -> None:
    """A result that the broker does not take ends the peer: nothing behind it is committed."""
    if error is not None:
        raise SystemExit(f"not delivered: {error}")
