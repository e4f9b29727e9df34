"""The demo worlds: rendered scenes with exact ground truth, and a tiny LLaVA and a tiny CLIP trained on each.

Promises: the same seed gives the same scenes; captions parse back to the very objects they name; the shipped weights in
`demo/weights` and `demo/weights-digits` hold what their model cards say. May import `pairs`; must not know of the
service, the workers or the trainer. Other rooms run it as a process (`python -m demo --help`) and never import it.
Importing this package brings no torch; `demo.models` does.
"""

from demo.captions import DEFAULT_PROMPT, caption, mentioned_objects
from demo.metrics import caption_figures
from demo.scenes import Scene, draw_scene, pixels_of
from demo.score import score_pairs
from demo.worlds import DIGITS, SHAPES, SceneObject, World
from pairs.metrics import CaptionFigures

__all__ = [
    "DEFAULT_PROMPT",
    "DIGITS",
    "SHAPES",
    "CaptionFigures",
    "Scene",
    "SceneObject",
    "World",
    "caption",
    "caption_figures",
    "draw_scene",
    "mentioned_objects",
    "pixels_of",
    "score_pairs",
]
