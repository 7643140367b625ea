"""What is published of a post: the JSON of the output topic (docs/messages.md), before it is written as bytes."""

import hashlib
from datetime import UTC, datetime
from typing import Any

from .bundle import Bundle
from .model import Answer
from .posts import Message, Prepared


def result(bundle: Bundle, prepared: Prepared, answer: Answer) -> dict[str, Any]:
    """Schema 1."""
    post, message, names = prepared.post, prepared.message, bundle.field_names
    probabilities = answer.probabilities.tolist()
    labels = [label.name for label in bundle.labels]
    best = probabilities.index(max(probabilities))
    told: dict[str, Any] = {"schema": 1, "result_id": result_id(bundle, message), "id": post.identifier}
    told |= {"source": post.source} if post.source else {}
    told |= {"published_at": post.published_at.isoformat()} if post.published_at else {}
    told |= {
        "scored_at": datetime.now(UTC).isoformat(),
        "sentiment": {
            "label": labels[best],
            "polarity": sum(label.polarity * one for label, one in zip(bundle.labels, probabilities, strict=True)),
            "confidence": probabilities[best],
            "probabilities": dict(zip(labels, probabilities, strict=True)),
        },
        "relevance": dict(zip(["image", *names], answer.relevance.tolist(), strict=True)),
    }
    if answer.effects is not None:
        told["effects"] = {names[field]: effect for field, effect in answer.effects.items()}
    return told | {
        "tags": prepared.tags or answer.inferred_tags,
        "flags": flags(bundle, prepared, answer),
        "model": {"bundle": bundle.encoders.name, "version": bundle.encoders.version, "digest": bundle.digest},
        "origin": {"topic": message.topic(), "partition": message.partition(), "offset": message.offset()},
    }


def result_id(bundle: Bundle, message: Message) -> str:
    """The same for a post scored again by the same bundle."""
    origin = f"{bundle.digest}\n{message.topic()}/{message.partition()}/{message.offset()}"
    return hashlib.sha256(origin.encode()).hexdigest()[:32]


def flags(bundle: Bundle, prepared: Prepared, answer: Answer) -> list[str]:
    """Remarks, in the worker's order."""
    lacking = [field for field, text in enumerate(prepared.texts) if text is None]
    inferred = {bundle.tagged} if answer.inferred_tags else set()
    missing = sorted(bundle.field_names[field] for field in lacking if field not in inferred)
    stood_in = sorted(bundle.field_names[field] for field in lacking if field in inferred)
    told = [f"{name}_missing" for name in missing] + [f"{name}_inferred" for name in stood_in]
    return [*told, "text_truncated"] if prepared.truncated else told
