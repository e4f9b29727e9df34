"""One hierarchy of errors. Each class has a stable `type`; `service.problems` gives it its HTTP form in one place."""

from typing import ClassVar


class JudgefreeError(Exception):
    """Something judgefree refuses or cannot do; the message says what was wrong and what to do, in one sentence.

    The message is shown to users as it is: it never holds an internal path, address or stack.
    """

    type: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    @property
    def detail(self) -> str:
        return str(self)


class MalformedRequest(JudgefreeError):
    type, status, title = "malformed-request", 400, "The request could not be read"


class Unauthenticated(JudgefreeError):
    type, status, title = "unauthenticated", 401, "An API key is needed"


class Forbidden(JudgefreeError):
    type, status, title = "forbidden", 403, "This API key is not known"


class UnknownPair(JudgefreeError):
    type, status, title = "unknown-pair", 404, "No such pair"


class NotReviewable(JudgefreeError):
    type, status, title = "not-reviewable", 409, "The pair has no verdict to review yet"


class IdempotencyConflict(JudgefreeError):
    type, status, title = "idempotency-conflict", 409, "The idempotency key was used for another request"


class TooLarge(JudgefreeError):
    type, status, title = "too-large", 413, "The image or the request is too large"


class NotAnImage(JudgefreeError):
    type, status, title = "not-an-image", 415, "Not an image that can be read"


class UnsupportedMediaType(JudgefreeError):
    type, status, title = "unsupported-media-type", 415, "The content type is not understood"


class InvalidField(JudgefreeError):
    type, status, title = "invalid-field", 422, "A field has a bad value"


class PromptTooLong(InvalidField):
    type, title = "prompt-too-long", "The prompt does not fit the model's context"


class UnknownAdapter(InvalidField):
    type, title = "unknown-adapter", "No such adapter"


class AdapterExists(JudgefreeError):
    type, status, title = "adapter-exists", 409, "The adapter's name is taken by another one"


class NothingEarlier(JudgefreeError):
    type, status, title = "nothing-earlier", 409, "There is no earlier adapter"


class QueueFull(JudgefreeError):
    type, status, title = "queue-full", 429, "The queue is full"


class QueueUnavailable(JudgefreeError):
    type, status, title = "queue-unavailable", 503, "The queue cannot be reached"


class ModelUnavailable(JudgefreeError):
    type, status, title = "model-unavailable", 503, "The model cannot be reached"


class StoreUnavailable(JudgefreeError):
    type, status, title = "store-unavailable", 503, "The store cannot be reached"


class GenerationFailed(JudgefreeError):
    """The model refused or spoilt one request; whether trying again may help is said by `is_permanent`."""

    type, status, title = "generation-failed", 502, "The model did not answer this request"

    def __init__(self, message: str, *, is_permanent: bool = False) -> None:
        super().__init__(message)
        self.is_permanent = is_permanent


class AdapterNotLoaded(GenerationFailed):
    type, title = "adapter-not-loaded", "The model cannot be had with this adapter"


class SettingsError(JudgefreeError):
    type, title = "settings", "A setting has a bad value"


class WrongStoreVersion(SettingsError):
    title = "The store's tables are of another version"


class MissingModel(JudgefreeError):
    type, title = "missing-model", "The model is not where the settings say"
