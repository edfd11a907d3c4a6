from __future__ import annotations

import pytest

from amdet_hub.hub._front_matter import CardClaims, card_claims

NONE = CardClaims()


@pytest.mark.parametrize(
    ("readme", "claims"),
    [
        (b"---\nlicense: mit\nbase_model: a/b\n---\ntext", CardClaims(("a/b",), "mit")),
        (
            "\ufeff---\r\nlicense: mit\r\nbase_model:\r\n- a/b\r\n- c\r\n---\r\n".encode(),
            CardClaims(("a/b", "c"), "mit"),
        ),
        (b"---\nbase_model: [a/b, a/b, ../x, 3, null, https://x/y]\nlicense: [mit]\n---", CardClaims(("a/b",), None)),
        (b"---\nlicense: 'a\nb'\n---\n", CardClaims((), "a b")),
        (b'---\nlicense: "a\\u001b[31m"\n---\n', NONE),
        (b"", NONE),
        (b"# no front matter\n---\nlicense: mit\n---\n", NONE),
        (b"---\nlicense: mit\n", NONE),
        (b"---\n- a\n- b\n---\n", NONE),
        (b"---\nlicense: [broken\n---\n", NONE),
        (b"---\nlicense: mit\ndate: 2020-99-99\n---\n", NONE),
        (b"---\n? [a, b]\n: c\n? {d: e}\n: f\n---\n", NONE),
        (b"---\nlicense: !!python/object/apply:os.system ['true']\n---\n", NONE),
        (b"---\n\xff\xfe: 1\nlicense: mit\n---\n", CardClaims((), "mit")),
        (b"---\na: &a [x, x]\nb: &b [*a, *a]\nlicense: mit\n---\n", NONE),
        (b"---\na: " + b"[" * 5000 + b"\n---\n", NONE),
        (b"---\nlicense: mit\nx: " + b"y" * 70_000 + b"\n---\n", NONE),
    ],
)
def test_claims_are_read_and_nothing_strange_is(readme: bytes, claims: CardClaims) -> None:
    assert card_claims(readme) == claims


def test_only_so_many_base_models_are_repeated() -> None:
    names = ", ".join(f"org/m{i}" for i in range(100))
    assert len(card_claims(f"---\nbase_model: [{names}]\n---\n".encode()).base_models) == 16
