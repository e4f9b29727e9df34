"""The HTTP surface. Each route parses, calls one function, and shapes the answer."""

from datetime import UTC, datetime
from importlib.resources import files
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse

from pairs.errors import (
    AdapterNotLoaded,
    Forbidden,
    GenerationFailed,
    IdempotencyConflict,
    InvalidField,
    MalformedRequest,
    ModelUnavailable,
    NotAnImage,
    NotReviewable,
    PromptTooLong,
    QueueFull,
    QueueUnavailable,
    StoreUnavailable,
    TooLarge,
    Unauthenticated,
    UnknownAdapter,
    UnknownPair,
    UnsupportedMediaType,
)
from pairs.model import Decision, Pair, PairId, Verdict
from pairs.store import PairFilter
from service import export, reading
from service.access import check_key
from service.admission import admit, wait_preference
from service.fields import PairFields
from service.gateway import Gateway
from service.problems import FieldProblem, InvalidFields, documented
from service.shapes import Accepted, Listed, Readiness, Review, Stats
from service.stats import present_stats


async def _gateway(request: Request) -> Gateway:  # async, as `_filter` is: FastAPI runs others in a thread, each time
    gateway: Gateway = request.app.state.gateway
    return gateway


_PRINTABLE = r"^[^\x00]+$"  # PostgreSQL takes no NUL
_CURSOR = r"^[0-9a-f-]{36}$"


async def _filter(
    decision: Decision | None = None,
    min_margin: Annotated[float | None, Query(ge=0, description="Least absolute margin")] = None,
    policy: Annotated[str | None, Query(description="A model's name, or model@adapter", pattern=_PRINTABLE)] = None,
    since: Annotated[datetime | None, Query(description="Accepted at or after; UTC where no zone is named")] = None,
) -> PairFilter:
    return PairFilter(decision=decision, min_margin=min_margin, policy=policy, since=_in_utc(since))


def _in_utc(moment: datetime | None) -> datetime | None:
    """The moment in UTC: SQLite compares times as text."""
    if moment is None or moment.tzinfo is None:
        return moment if moment is None else moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise InvalidFields([FieldProblem(field="since", message="is out of range")]) from error


ThisGateway = Annotated[Gateway, Depends(_gateway)]
Wanted = Annotated[PairFilter, Depends(_filter)]

_KEYED = documented(Unauthenticated, Forbidden)
_AWAY = (QueueUnavailable, StoreUnavailable)

_DONE_IN_TIME: dict[int | str, dict[str, Any]] = {
    200: {"model": Accepted, "description": "All done within `Prefer: wait=SECONDS`"}
}

pairs_api = APIRouter(prefix="/v1", dependencies=[Depends(check_key)], responses=_KEYED)
open_api = APIRouter()
metrics_api = APIRouter(dependencies=[Depends(check_key)], responses=_KEYED)


def _body_schema() -> dict[str, Any]:
    """What OpenAPI says of the request: the fields flat with dots in a form, nested in JSON."""
    fields = PairFields.model_json_schema(ref_template="#/components/schemas/{model}")
    nested = fields.pop("$defs")
    injection = nested["HallucinationFields"]
    injection["properties"]["method"] = nested["Method"] | {"default": "blend"}
    grounding = nested["GroundingFields"]
    grounding["properties"]["method"] = nested["GroundingMethod"] | {"default": "plain"}
    groups = {"hallucination": injection, "grounding": grounding}
    plain = {name: shape for name, shape in fields["properties"].items() if name not in groups}
    dotted = {
        f"{group}.{name}": shape for group, shapes in groups.items() for name, shape in shapes["properties"].items()
    }
    image = {"type": "string", "format": "binary"}
    form = {"image": {"type": "array", "items": image, "description": "One or many image files"}}
    encoded = {"type": "string", "contentEncoding": "base64", "description": "base64, or a data URI"}
    as_json = {"image": encoded, "images": {"type": "array", "items": encoded}} | groups
    shapes: dict[str, dict[str, Any]] = {
        "multipart/form-data": {"type": "object", "properties": form | plain | dotted, "required": ["image"]},
        "application/json": {"type": "object", "properties": as_json | plain},
    }
    return {"requestBody": {"required": True, "content": {kind: {"schema": one} for kind, one in shapes.items()}}}


@pairs_api.post(
    "/pairs",
    status_code=202,
    response_model=Accepted,
    openapi_extra=_body_schema(),
    responses=_DONE_IN_TIME
    | documented(
        MalformedRequest, IdempotencyConflict, TooLarge, NotAnImage, UnsupportedMediaType, InvalidField,
        PromptTooLong, UnknownAdapter, QueueFull, GenerationFailed, AdapterNotLoaded, ModelUnavailable, *_AWAY,
    ),
)  # fmt: skip
async def post_pairs(request: Request, response: Response, gateway: ThisGateway) -> Accepted:
    """Accept images; answers 202 once their pairs would survive a crash, or 200 with finished ones under `Prefer`."""
    wait_s = wait_preference(request)
    admission = await admit(request, gateway)
    found = await reading.accepted_pairs(gateway, admission, wait_s or 0)
    response.headers["Location"] = f"/v1/pairs/{admission.pair_ids[0]}"
    if wait_s is not None:
        response.headers["Preference-Applied"] = f"wait={wait_s}"
        if reading.are_settled(found):
            response.status_code = 200
    return Accepted(pairs=found)


@pairs_api.get("/pairs", response_model=Listed, responses=documented(InvalidField, StoreUnavailable))
async def list_pairs(
    gateway: ThisGateway,
    wanted: Wanted,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(pattern=_CURSOR, description="`next` of the page before")] = None,
) -> Listed:
    """Finished pairs, newest first."""
    page = await gateway.store.page(wanted, limit, None if cursor is None else PairId(cursor))
    return Listed(pairs=page.pairs, next=page.next)


@pairs_api.get("/pairs/{pair_id}", response_model=Pair, responses=documented(UnknownPair, *_AWAY))
async def get_pair(request: Request, response: Response, gateway: ThisGateway, pair_id: str) -> Pair:
    """One pair, in whatever state; under `Prefer: wait=SECONDS` once it is settled, or as it stands then."""
    wait_s = wait_preference(request)
    if wait_s is not None:
        response.headers["Preference-Applied"] = f"wait={wait_s}"
    return await reading.pair_of(gateway, pair_id, wait_s or 0)


@pairs_api.get("/pairs/{pair_id}/image", response_class=Response, responses=documented(UnknownPair, *_AWAY))
async def get_image(request: Request, gateway: ThisGateway, pair_id: str) -> Response:
    """The stored image, which never changes."""
    pair = await reading.pair_of(gateway, pair_id)
    tag = f'"{pair.image.sha256}"'
    headers = {"ETag": tag, "Cache-Control": "private, max-age=31536000, immutable"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(await reading.image_of(gateway, pair), media_type=pair.image.media_type, headers=headers)


@pairs_api.put(
    "/pairs/{pair_id}/review",
    response_model=Pair,
    responses=documented(UnknownPair, NotReviewable, InvalidField, *_AWAY),
)
async def put_review(gateway: ThisGateway, pair_id: str, body: Review) -> Pair:
    """Set a person's verdict; chosen and rejected follow it, the decision stays the machine's."""
    return await reading.review(gateway, pair_id, body.verdict)


@pairs_api.get("/export", response_class=StreamingResponse, responses=documented(InvalidField, StoreUnavailable))
async def get_export(
    gateway: ThisGateway,
    wanted: Wanted,
    format: Literal["parquet", "jsonl"] = "parquet",  # noqa: A002  the parameter's public name
    verdict: Annotated[list[Verdict], Query(description="Which verdicts")] = [Verdict.KEEP, Verdict.SWAP],  # noqa: B006
) -> StreamingResponse:
    """Finished pairs as rows for TRL's vision DPO, oldest first."""
    chosen = PairFilter(wanted.decision, tuple(verdict), wanted.min_margin, wanted.policy, wanted.since)
    headers = {"Content-Disposition": f'attachment; filename="pairs.{format}"'}
    if format == "parquet":
        file = await export.parquet(gateway, chosen)
        return StreamingResponse(export.chunks(file), headers=headers, media_type="application/vnd.apache.parquet")
    lines = await export.begun(export.json_lines(gateway, chosen))
    return StreamingResponse(lines, headers=headers, media_type="application/jsonl")


@pairs_api.get("/stats", response_model=Stats, responses=documented(*_AWAY))
async def get_stats(gateway: ThisGateway) -> Stats:
    """Counts, rates, and the latest dead letters."""
    return await present_stats(gateway)


@metrics_api.get("/metrics", response_class=Response)
async def get_metrics(gateway: ThisGateway) -> Response:
    """What Prometheus reads; while a part is away, its gauges are those of the last look."""
    backlog, decisions = await gateway.tally.look_at_each()
    rate, watch = gateway.tally.pairs_per_second(), gateway.watch
    gateway.metrics.show(backlog, decisions, rate, watch.is_there, watch.states())
    return Response(gateway.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@open_api.get("/healthz")
async def get_health() -> dict[str, str]:
    """Alive."""
    return {"status": "ok"}


@open_api.get("/readyz", response_model=Readiness, responses={503: {"model": Readiness}})
async def get_readiness(gateway: ThisGateway) -> Response:
    """Able to serve: the queue, the store and the model answer."""
    away = await reading.parts_away(gateway)
    readiness = Readiness(status="away" if away else "ready", away=away)
    return JSONResponse(readiness.model_dump(), status_code=503 if away else 200)


@open_api.api_route("/", methods=["GET", "HEAD"], response_class=HTMLResponse, include_in_schema=False)
async def get_page() -> HTMLResponse:
    """The page: what is waiting, and what became of the latest pairs."""
    return HTMLResponse((files("service") / "page" / "index.html").read_text())
