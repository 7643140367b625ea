"""`python -m peer.plain`: the pipeline as most good engineers would write it.

One loop: take up to 32 records, decode each image with Pillow, tokenise, pad the batch's texts to the longest of them, run every graph
once with ONNX Runtime's defaults and a thread for each core, publish, wait for the broker, commit.
"""

import json
from collections.abc import Sequence
from typing import Any

from confluent_kafka import Consumer, Producer

from . import stream
from .bundle import read_bundle
from .model import Layout, Model, one_run
from .pixels import whole
from .posts import Prepared, Refused, prepare
from .results import result

BATCH = 32
POLL_SECONDS = 0.1


def layout(threads: int) -> Layout:
    """Every graph once a batch, and ONNX Runtime as it comes."""
    return Layout(threads, spinning=True, images_per_run=BATCH, text_runs=one_run, distinct_texts=False)


def main() -> None:
    """Runs until SIGTERM."""
    settings, stop = stream.read_settings(), stream.Stop()
    bundle = read_bundle(settings.bundle)
    model = Model(bundle, layout(stream.cores()), settings.effects)
    producer = Producer(settings.producer)
    consumer = Consumer(settings.consumer | {"enable.auto.commit": False})
    consumer.subscribe([settings.input_topic])
    while not stop.asked:
        messages = [message for message in consumer.consume(BATCH, POLL_SECONDS) if not message.error()]
        if messages:
            publish(producer, settings, model, messages)
            producer.flush()
            consumer.commit(asynchronous=True)
    consumer.close()


def publish(producer: Producer, settings: stream.Settings, model: Model, messages: Sequence[Any]) -> None:
    """Scores a batch and enqueues what comes of it."""
    prepared: list[Prepared] = []
    for message in messages:
        if message.value() is None:
            producer.produce(settings.output_topic, key=message.key(), on_delivery=stream.told_delivered)
            continue
        try:
            prepared.append(prepare(model.bundle, message, whole))
        except Refused as refused:
            letter = stream.dead_letter(message, refused)
            producer.produce(settings.dead_letter_topic, **letter, on_delivery=stream.told_delivered)
    for post, answer in zip(prepared, model.score(prepared) if prepared else [], strict=True):
        value = json.dumps(result(model.bundle, post, answer), ensure_ascii=False).encode()
        producer.produce(settings.output_topic, key=post.message.key(), value=value, on_delivery=stream.told_delivered)


if __name__ == "__main__":
    main()
