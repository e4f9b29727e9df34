"""What a person sees of a training, and what a program reads of it: a bar, and one JSON object a line."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

_SHOWN = (("loss", "loss"), ("rewards/margins", "reward margin"), ("rewards/accuracies", "reward accuracy"))


class Lines(TrainerCallback):  # type: ignore[misc]
    """Writes each logged set of metrics as a line of `file`; a resumed training goes on after its checkpoint's."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.is_world_process_zero:
            self._file.write_text("".join(_line(metrics, state) for metrics in state.log_history), encoding="utf-8")

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.is_world_process_zero:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(_line(state.log_history[-1], state))


class Bar(TrainerCallback):  # type: ignore[misc]
    """A bar with loss, reward margin, reward accuracy and the time left; away from a terminal a line at each log."""

    def __init__(self, console: Console) -> None:
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
        self._bar = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True)
        self._task = self._bar.add_task("training")
        self._console = console

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._bar.update(self._task, total=state.max_steps, completed=state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._bar.update(self._task, completed=state.global_step)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        metrics = state.log_history[-1]
        said = ", ".join(f"{label} {metrics[name]:.3f}" for name, label in _SHOWN if name in metrics)
        if not said:
            return
        self._bar.update(self._task, description=said)
        if not self._console.is_terminal:
            self._console.print(f"step {state.global_step} of {state.max_steps}: {said}")


def _line(metrics: dict[str, Any], state: TrainerState) -> str:
    return json.dumps(metrics | {"of": state.max_steps}, sort_keys=True) + "\n"
