"""The addresses of the local Hub for webhooks: list and create. They are kept, not delivered.

Source: huggingface_hub 2.4, `hf_api.py`, `list_webhooks` and `create_webhook`.
"""

from __future__ import annotations

from typing import Any

from amdet_hub.testing.hub_http import HubRefusal, HubRequest, HubResponse, json_response
from amdet_hub.testing.hub_routes import route
from amdet_hub.testing.hub_world import HubUser, World

_TYPES = ("dataset", "model", "org", "space", "user", "bucket")


def _manager(world: World, request: HubRequest) -> HubUser:
    user = world.user(request)
    if user is None:
        raise HubRefusal(401, "Invalid username or password.")
    if user.read_only:
        raise HubRefusal(403, "Forbidden: this token may not manage webhooks")
    return user


def _list(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    return json_response(world.webhooks.get(_manager(world, request).name, []))


def _create(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    user, asked, watched = _manager(world, request), request.json(), request.rows("watched")
    if bool(asked.get("url")) == bool(asked.get("jobSourceId")):
        raise HubRefusal(400, "a webhook needs a url or a job, and not both")
    if not watched or any(item.get("type") not in _TYPES or not item.get("name") for item in watched):
        raise HubRefusal(400, "'watched' must name what is watched")
    hooks = world.webhooks.setdefault(user.name, [])
    hook: dict[str, Any] = {
        "id": f"{len(hooks) + 1:024x}",
        "watched": watched,
        "domains": asked.get("domains", ["repo", "discussion"]),
        "disabled": False,
    }
    if asked.get("url"):
        hook["url"] = asked["url"]
    else:
        secrets = asked.get("secrets") or {}
        hook["job"] = {
            "sourceJobId": asked["jobSourceId"],
            "secrets": sorted(secrets),
            "command": [],
            "environment": {},
            "flavor": "cpu-basic",
        }
    if asked.get("secret"):
        hook["secret"] = asked["secret"]
    hooks.append(hook)
    return json_response({"webhook": hook}, changed=True)


WEBHOOK_ROUTES = (
    route("GET", "/api/settings/webhooks", _list),
    route("POST", "/api/settings/webhooks", _create),
)
