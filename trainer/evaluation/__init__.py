"""How good a served model's answers are on images with known objects, with intervals, and which of two is better.

Promises: a figure is a share of counts taken image by image, has a 95 % bootstrap interval over the images, and is the
same for the same answers and seed; two models are compared on the same images, drawn together. A data set is opened
by its name (`open_dataset`), captions come from vLLM (`ask_all`), figures are pure functions of counts (`counts`,
`figures`, `compare`). Here is also what is known of finished pairs where the truth is (`trainer.evaluation.truth`).

May import `pairs` and libraries. Must not know the demo world: its scenes come from a process, as a list of images.
"""

from trainer.evaluation.asking import Decoding, Question, Server, ask_all, served_name
from trainer.evaluation.captioning import compare, counts, figures
from trainer.evaluation.dataset import DataSet, Example
from trainer.evaluation.opening import open_dataset
from trainer.evaluation.shares import Comparison, Counts, Difference, Estimate, Figures
from trainer.evaluation.vocabulary import ObjectVocabulary

__all__ = [
    "Comparison",
    "Counts",
    "DataSet",
    "Decoding",
    "Difference",
    "Estimate",
    "Example",
    "Figures",
    "ObjectVocabulary",
    "Question",
    "Server",
    "ask_all",
    "compare",
    "counts",
    "figures",
    "open_dataset",
    "served_name",
]
