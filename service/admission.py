"""From a request to accepted jobs: read, bound, normalise, store, enqueue. All of its images are accepted, or none."""

import asyncio
import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from fastapi import Request

from pairs.clock import new_pair_id, now
from pairs.errors import InvalidField, JudgefreeError, MalformedRequest, PromptTooLong, QueueFull, StoreUnavailable
from pairs.model import ImageRef, Job, Pair, PairId, Seed, Status
from pairs.queue import Idempotency
from pairs.tracing import accepted_parent, of_job
from service.bodies import Body, read_body
from service.draws import longest_prompt
from service.fields import PairFields, read_fields
from service.gateway import Gateway
from service.images import MEDIA_TYPE, NormalImage, normalise

MAX_WAIT_S: Final = 60

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})", re.IGNORECASE)
_KEY = re.compile(r"[\x20-\x7e]{1,255}")


@dataclass(frozen=True)
class Asked:
    """A request that was read and found good, but not accepted yet."""

    fields: PairFields
    images: list[NormalImage]
    idempotency: Idempotency | None


@dataclass(frozen=True)
class Admission:
    """The ids of a request's pairs, one an image, in order; and the pairs as they were accepted, none for a repeat."""

    pair_ids: list[PairId]
    queued: list[Pair]


async def admit(request: Request, gateway: Gateway) -> Admission:
    """Accept the request. Raises any JudgefreeError, accepting none of its images."""
    began = now()
    key = idempotency_key(request)
    if key is None:  # a repeated request is answered however full the queue is, and is known only once it is read
        await _check_room(gateway)
    async with gateway.room.taken(request):
        asked = await _read(request, key, gateway)
        await _check_fits(asked, gateway)
        jobs = await _jobs(asked, await _adapter(asked, gateway), gateway)
    client = accepted_parent(request.headers.get("traceparent"))
    pair_ids = await _accept(jobs, asked.idempotency, client, began, gateway)
    queued = [Pair.of_job(job, Status.QUEUED) for job in jobs if job.id in pair_ids]
    gateway.metrics.admitted.inc(len(queued))
    return Admission(pair_ids, queued)


async def _accept(
    jobs: Sequence[Job], idempotency: Idempotency | None, client: str | None, began: datetime, gateway: Gateway
) -> list[PairId]:
    """Put the jobs on the queue, each with the trace that begins with its admission, or goes on that of the client."""
    with ExitStack() as spans:
        begun = {job.id: gateway.tracing.begin_trace("admission", client, of_job(job), start=began) for job in jobs}
        traces = {pair_id: spans.enter_context(span).trace for pair_id, span in begun.items()}
        pair_ids = await gateway.queue.admit(jobs, idempotency, traces)
        if pair_ids != list(traces):
            spans.pop_all()  # a repeated request: its pairs have their traces, and these spans are never ended
    return pair_ids


def wait_preference(request: Request) -> int | None:
    """The seconds of `Prefer: wait=SECONDS` (RFC 7240), bounded; None where there is none."""
    found = _WAIT.search(", ".join(request.headers.getlist("prefer")))
    return None if found is None else min(int(found[1]), MAX_WAIT_S)


def idempotency_key(request: Request) -> str | None:
    """The request's `Idempotency-Key`; raises MalformedRequest for one that is no key."""
    key = request.headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise MalformedRequest("Idempotency-Key must be 1 to 255 printable ASCII characters.")
    return key


async def _check_room(gateway: Gateway) -> None:
    """Refuse what there is no room for before it is read. The queue is asked only where it was full a moment ago: the
    bound itself is kept when the jobs are put on it.
    """
    most = gateway.settings.max_in_flight
    if gateway.tally.in_flight >= most and (await gateway.queue.depth()).in_flight >= most:
        raise QueueFull(f"{most} pairs are in flight already; try again later.")


async def _read(request: Request, key: str | None, gateway: Gateway) -> Asked:
    body = await read_body(request, gateway.settings)
    fields = read_fields(body)
    images = [await _normalised(raw, index, gateway) for index, raw in enumerate(body.images)]
    return Asked(fields, images, None if key is None else Idempotency(key, _fingerprint(body, fields)))


def _fingerprint(body: Body, fields: PairFields) -> str:
    """What makes two requests the same one: their fields as given, and the bytes of their images."""
    images = [hashlib.sha256(raw).hexdigest() for raw in body.images]
    given = fields.model_dump(mode="json", exclude_unset=True)
    return hashlib.sha256(json.dumps([given, images], sort_keys=True).encode()).hexdigest()


async def _normalised(raw: bytes, index: int, gateway: Gateway) -> NormalImage:
    settings = gateway.settings
    async with gateway.decoding:
        try:
            return await asyncio.to_thread(normalise, raw, settings.max_image_pixels, settings.max_image_side)
        except JudgefreeError as error:
            raise type(error)(f"image {index}: {error.detail.removeprefix('image: ')}.") from error


async def _check_fits(asked: Asked, gateway: Gateway) -> None:
    served = gateway.watch.served()
    settings, fields = gateway.settings, asked.fields
    prompt = longest_prompt(fields.prompt or settings.prompt, fields.hallucination.method)
    max_tokens = fields.sampling(settings).max_tokens
    for size, image in {(image.width, image.height): image for image in asked.images}.items():
        try:
            await gateway.watch.ask_any(partial(gateway.fitting.check, served, prompt, image.content, size, max_tokens))
        except PromptTooLong:
            raise
        except InvalidField as error:
            if fields.max_tokens is None:  # not asked for, so it is the prompt that leaves no room for an answer
                raise PromptTooLong(f"prompt: it leaves no room for an answer of {max_tokens} tokens.") from error
            raise


async def _adapter(asked: Asked, gateway: Gateway) -> str | None:
    """The adapter that will answer the request, whatever is promoted until then; that the replica can have it is seen
    now, while there is somebody to tell."""
    served = gateway.watch.served()
    name = await gateway.shelf.chosen(served.policy.model, asked.fields.adapter)
    await gateway.watch.ask_any(lambda replica: replica.loader.ensure(served, name))
    return name


async def _jobs(asked: Asked, adapter: str | None, gateway: Gateway) -> list[Job]:
    hashes = await _store_images(asked.images, gateway)
    fields, settings, created_at = asked.fields, gateway.settings, now()
    seed: Seed = fields.seed
    return [
        Job(
            id=new_pair_id(),
            image=ImageRef(sha256=sha256, width=image.width, height=image.height, media_type=MEDIA_TYPE),
            prompt=fields.prompt or settings.prompt,
            hallucination=fields.injection(sha256, settings),
            grounding=fields.grounding.carried_out(),
            adapter=adapter,
            sampling=fields.sampling(settings),
            seed=seed,
            created_at=created_at,
        )
        for image, sha256 in zip(asked.images, hashes, strict=True)
    ]


async def _store_images(images: Sequence[NormalImage], gateway: Gateway) -> list[str]:
    try:
        return [await gateway.blobs.put(image.content) for image in images]
    except OSError as error:
        raise StoreUnavailable("The image could not be stored just now; try again shortly.") from error
