"""A discussion on a repository that tells its owner something, opened once.

Refuses to know: what a scan found, and pull requests (`amdet_hub.hub.publish`).
"""

from amdet_hub.hub import _client
from amdet_hub.hub.publish import whoami
from amdet_hub.hub.settings import HubSettings


def tell_owner(repo_id: str, *, title: str, text: str, settings: HubSettings) -> str | None:
    """Open a discussion, unless one of ours with this title exists: open, it was said; closed, the owner has answered.

    Args:
        repo_id: the repository.
        title: 3 to 200 characters; it is also how an earlier one is recognised.
        text: Markdown.
        settings: how to reach the Hub, as whom.

    Returns:
        The address of the new discussion, None when there was one already.

    Raises:
        AccessDenied: there is no token, or it lacks the right.
        HubError: anything else between us and the Hub.
    """
    user = whoami(settings)
    api, question = _client.prepare(f"open a discussion on '{repo_id}'", settings, name=repo_id)

    def earlier() -> bool:
        return any(
            d.author == user and d.title.strip() == title.strip()
            for d in api.get_repo_discussions(repo_id, author=user, discussion_type="discussion")
        )

    if _client.ask(question, settings, earlier):
        return None
    made = _client.ask(
        question, settings, lambda: api.create_discussion(repo_id, title, description=text), writes=True
    )
    return str(made.url)
