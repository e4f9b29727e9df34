"""The front door: the command line, the local launcher (`judgefree up`) and the typed HTTP client.

This room starts the other parts as processes and talks to them over HTTP; it imports `pairs` and none of the others,
and knows no model. From Python:

    from judgefree import Client, Fields
    with Client("http://127.0.0.1:8080") as client:
        [pair] = client.submit([Path("photo.jpg")], Fields(prompt="Describe the image."), wait_s=60)
"""

from judgefree.client import Client, Fields, Filters
from judgefree.problems import ApiError, Problem, Unreachable

__all__ = ["ApiError", "Client", "Fields", "Filters", "Problem", "Unreachable"]
