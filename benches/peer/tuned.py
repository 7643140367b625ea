"""`python -m peer.tuned`: the pipeline as somebody would write it who knows Kafka, Pillow and ONNX Runtime well.

What was tried and what it gave, in CPU milliseconds a post on two cores (README.md has the whole of it; `plain` takes 35 to 37):

- sessions that do not spin: 25; each core's thread takes a batch from JPEG to JSON, with sessions of one thread: 22.5. A pool that
  decodes ahead of one model with a thread for each core is slower, a process a core no faster;
- `Image.draft()` at the least size that keeps the answers: 17; images in runs of 4: 16;
- texts sorted by length, in runs of 8: 13.5; equal texts of a batch once: 12.7; batches of 32 (of 8: 14.3, of 64: 12.2);
- fetches that hold many images, and a full queue that is looked at again at once: no difference with a broker on the same machine.
"""

import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from . import stream
from .bundle import read_bundle
from .model import Layout, Model, Runs
from .pixels import reduced
from .posts import Prepared, Refused, prepare
from .results import result

BATCH = 32
IMAGES_PER_RUN = 4
TEXTS_PER_RUN = 8
AHEAD = 2
"""Batches a core that are in work or wait: the next is there when one is done."""
POLL_SECONDS = 0.05
CONSUMER = {
    "enable.auto.offset.store": False,
    "auto.commit.interval.ms": 1000,
    "max.partition.fetch.bytes": 8 << 20,
    "fetch.queue.backoff.ms": 10,
    "queued.max.messages.kbytes": 32 << 10,
}
PRODUCER = {"enable.idempotence": True, "linger.ms": 20}

Record = dict[str, Any]


@dataclass
class Batch:
    """Records on their way, committed when all that came of them is delivered."""

    messages: Sequence[Any]
    records: Future[list[Record]]
    published: int | None = None
    delivered: int = field(default=0)

    def note(self, error: object, message: object) -> None:
        """A delivery report."""
        stream.told_delivered(error, message)
        self.delivered += 1


def short_first(lengths: Sequence[int]) -> Runs:
    """Runs of texts of like length, so that little is padded."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    return [order[start : start + TEXTS_PER_RUN] for start in range(0, len(order), TEXTS_PER_RUN)]


LAYOUT = Layout(1, spinning=False, images_per_run=IMAGES_PER_RUN, text_runs=short_first, distinct_texts=True)


class Pipeline:
    """Batches in the order they came: scored by as many threads as there are cores, published and committed by one."""

    def __init__(self, settings: stream.Settings) -> None:
        self.settings = settings
        self.model = Model(read_bundle(settings.bundle), LAYOUT, settings.effects)
        self.workers = ThreadPoolExecutor(stream.cores())
        self.producer = Producer(settings.producer | PRODUCER)
        self.consumer = Consumer(settings.consumer | CONSUMER)
        self.scoring: deque[Batch] = deque()
        self.publishing: deque[Batch] = deque()

    def run(self, stop: stream.Stop) -> None:
        """Until SIGTERM; what is in work is finished."""
        self.consumer.subscribe([self.settings.input_topic])
        most = AHEAD * stream.cores()
        while not stop.asked:
            room = len(self.scoring) < most
            messages = self.consumer.consume(BATCH, 0 if self.scoring or not room else POLL_SECONDS) if room else []
            self.take([message for message in messages if not message.error()])
            if self.scoring and (not room or not messages):
                wait([self.scoring[0].records], POLL_SECONDS)
            self.publish()
        while self.scoring:
            wait([self.scoring[0].records])
            self.publish()
        self.producer.flush()
        self.settle()
        self.consumer.close()
        self.workers.shutdown()

    def take(self, messages: Sequence[Any]) -> None:
        """Starts a batch."""
        if messages:
            self.scoring.append(Batch(messages, self.workers.submit(self.scored, messages)))

    def scored(self, messages: Sequence[Any]) -> list[Record]:
        """What is to be published of a batch; runs in a worker, one core's work from JPEG to JSON."""
        prepared: list[Prepared] = []
        records: list[Record] = []
        for message in messages:
            if message.value() is None:
                records.append({"topic": self.settings.output_topic, "key": message.key()})
                continue
            try:
                prepared.append(prepare(self.model.bundle, message, reduced))
            except Refused as refused:
                records.append({"topic": self.settings.dead_letter_topic, **stream.dead_letter(message, refused)})
        for post, answer in zip(prepared, self.model.score(prepared) if prepared else [], strict=True):
            value = orjson.dumps(result(self.model.bundle, post, answer))
            records.append({"topic": self.settings.output_topic, "key": post.message.key(), "value": value})
        return records

    def publish(self) -> None:
        """Enqueues what is done, in order, and serves delivery reports."""
        while self.scoring and self.scoring[0].records.done():
            batch = self.scoring.popleft()
            records = batch.records.result()
            for record in records:
                self.producer.produce(**record, on_delivery=batch.note)
            batch.published = len(records)
            self.publishing.append(batch)
        self.producer.poll(0)
        self.settle()

    def settle(self) -> None:
        """Lets the consumer commit what is delivered, and nothing behind what is not."""
        while self.publishing and self.publishing[0].delivered == self.publishing[0].published:
            ends: dict[tuple[str, int], int] = {}
            for message in self.publishing.popleft().messages:
                ends[message.topic(), message.partition()] = message.offset() + 1
            try:
                self.consumer.store_offsets(offsets=[TopicPartition(*partition, offset) for partition, offset in ends.items()])
            except KafkaException:  # the partition is somebody else's by now, who reads these again
                continue


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the workers take the cores
    Pipeline(stream.read_settings()).run(stream.Stop())
