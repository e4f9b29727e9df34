"""`submit`: a person's own images to pairs."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

from judgefree.client import Fields
from judgefree.commands.connection import open_client
from judgefree.commands.progress import follow, summary
from judgefree.commands.terminal import terminal
from judgefree.contact_sheet import Entry, write_sheet
from judgefree.ledger import Ledger
from judgefree.mistakes import Mistake
from judgefree.submission import Found, Tally, find_images, submit_all
from pairs.model import GroundingMethod, Method
from pairs.settings import load_settings

MOST_ON_SHEET = 200
PATIENCE_S = 300.0
"""Longer than `judgefree up` takes to start a dead part again."""


def submit(
    paths: Annotated[list[str], typer.Argument(help="Image files, folders (with all below them), glob patterns.")],
    url: Annotated[str | None, typer.Option(help="The gateway; the one of the settings if not given.")] = None,
    out: Annotated[Path, typer.Option(help="Finished pairs, one JSON line each; run again to go on.")] = Path(
        "pairs.jsonl"
    ),
    sheet: Annotated[Path | None, typer.Option(help="Also write an HTML contact sheet of this run's pairs.")] = None,
    prompt: Annotated[str | None, typer.Option(help="What the model is asked about each image.")] = None,
    method: Annotated[Method | None, typer.Option(help="How hallucination is injected.")] = None,
    ratio: Annotated[float | None, typer.Option(help="Hallucination ratio, fixed, in [-2, 2].")] = None,
    ratio_mean: Annotated[float | None, typer.Option(help="Mean of the ratio, where it is drawn.")] = None,
    ratio_std: Annotated[float | None, typer.Option(help="Standard deviation of the ratio.")] = None,
    grounding: Annotated[GroundingMethod | None, typer.Option(help="How the normal answer is decoded.")] = None,
    grounding_ratio: Annotated[float | None, typer.Option(help="Its ratio if contrastive, in [-2, 0).")] = None,
    adapter: Annotated[str | None, typer.Option(help="A registered adapter, or `base` for the model as it is.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest answer, in tokens.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Sampling temperature; 0 is greedy.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Nucleus of the sampling.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Most likely tokens to sample from; 0: all.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the sampling and of the ratio.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Most images in flight.")] = 64,
    timeout: Annotated[float, typer.Option(min=1, help="Longest wait for one image, in seconds.")] = 600,
) -> None:
    """Turn images into preference pairs over HTTP. Exit code 0 only if every image came out."""
    fields = read_fields({name: value for name, value in locals().items() if name in Fields.model_fields})
    found = find_images(paths)
    if not found.images:
        raise Mistake("There is no image among the given paths; JPEG, PNG, WebP and GIF are read.")
    if sheet is not None and not sheet.parent.is_dir():
        raise Mistake(f"There is no folder {sheet.parent}.")
    console, tally, entries = terminal(), Tally(), list[Entry]()
    settings = load_settings()
    with open_client(settings, url) as hasty:
        hasty.stats()  # a gateway that was never there is said at once; one that goes away later is waited for
    with open_client(settings, url, PATIENCE_S) as client, Ledger(out) as ledger:
        outcomes = submit_all(client, found.images, fields, ledger, concurrency, timeout)
        try:
            for outcome in follow(outcomes, len(found.images), tally, console):
                if sheet is not None and outcome.pair is not None and len(entries) < MOST_ON_SHEET:
                    entries.append(Entry(outcome.file.name, client.image(outcome.pair.id), outcome.pair))
        except KeyboardInterrupt:
            console.print(f"Interrupted: {summary(tally)}. Run the same command again to go on.")
            raise
    if sheet is not None:
        write_sheet(sheet, entries, "judgefree pairs")
    _conclude(console, tally, found, out)


def read_fields(given: dict[str, object]) -> Fields:
    try:
        return Fields.model_validate(given)
    except ValidationError as error:
        said = "; ".join(f"--{str(one['loc'][0]).replace('_', '-')}: {one['msg']}" for one in error.errors())
        raise Mistake(f"{said}.") from error


def _conclude(console: Console, tally: Tally, found: Found, out: Path) -> None:
    """The summary, what was no image, what failed; exits with 1 unless all that was named came out."""
    for failure in tally.failures:
        console.print(f"{failure.file}: {failure.reason}", style="red")
    for other in (*found.named_others, *found.met_others):
        console.print(f"{other}: not an image, left out", style="yellow")
    console.print(f"{tally.finished} of {len(found.images)} images in {out}: {summary(tally)}.")
    if tally.failures or found.named_others:
        raise typer.Exit(1)
