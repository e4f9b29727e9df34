"""What can go wrong in an evaluation; the client's own errors of the model are those of `pairs.errors`."""

from pairs.errors import JudgefreeError


class UnreadableDataSet(JudgefreeError):
    """A data set, vocabulary or file of pairs that is missing or not of the form it must have."""

    type, title = "unreadable-data-set", "The data set cannot be read"


class ModelNotServed(JudgefreeError):
    """What answers at the URL does not serve the model or adapter that was asked for."""

    type, title = "model-not-served", "The model is not served"


class NotComparable(JudgefreeError):
    """Two models were not asked about the same images."""

    type, title = "not-comparable", "The two cannot be compared"


class UnwritableFile(JudgefreeError):
    """Where the figures or answers were to go cannot be written."""

    type, title = "unwritable-file", "The file cannot be written"
