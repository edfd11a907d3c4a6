"""The addresses of the local Hub for datasets and Spaces: created, written by commits and read like models, under a prefix of their own.

Knows: where huggingface_hub 2.4 puts the repository type. Refuses to know: what a Space does; nothing is built or run.
Such a repository is held under `datasets/owner/name` or `spaces/owner/name`, which is also how a test names it
(`hub.read("spaces/me/app", "app.py")`).
"""

from __future__ import annotations

from amdet_hub.testing.hub_http import HubRequest, HubResponse
from amdet_hub.testing.hub_routes import MODEL, READ_ROUTES, REPO, Handler, Route, route
from amdet_hub.testing.hub_world import World

_KIND = r"(?P<kind>datasets|spaces)"
_LISTED = f"/api/{_KIND}/{REPO}"


def _typed(handler: Handler) -> Handler:
    """The model's handler, about the repository under its prefix."""

    def answer(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
        return handler(world, request, {**names, "repo": f"{names['kind']}/{names['repo']}"})

    return answer


def typed_routes(write_routes: tuple[Route, ...]) -> tuple[Route, ...]:
    """The routes of datasets and Spaces, made from those of models."""
    made = []
    for one in (*READ_ROUTES, *write_routes):
        pattern = one.pattern.pattern
        if pattern.startswith(MODEL):
            pattern = _LISTED + pattern.removeprefix(MODEL)
        elif pattern.startswith(f"/{REPO}"):
            pattern = f"/{_KIND}/{REPO}" + pattern.removeprefix(f"/{REPO}")
        else:
            continue
        made.append(route(" ".join(one.methods), pattern, _typed(one.handler), side=one.side))
    return tuple(made)


def typed_info(handler: Handler) -> Route:
    """The repository's own page; comes last, as the model's does."""
    return route("GET", _LISTED, _typed(handler))
