from __future__ import annotations

import dataclasses
import random
import subprocess
import sys
from pathlib import Path

import pytest

from amdet_hub.bench.figures import _dense, distribution_figure, roc_figure
from amdet_hub.bench.results import ModelResult
from amdet_hub.errors import ConfigError
from tests.bench.test_results import negative, positive, scan

matplotlib = pytest.importorskip("matplotlib")


def suite(layouts: tuple[str, ...] = ("clip", "siglip"), shift: float = 0.0) -> list[ModelResult]:
    rng = random.Random(1)
    models: list[ModelResult] = []
    for layout in layouts:
        for i in range(8):
            high, low = 9 + rng.random() * 4 + shift, 2 + rng.random() * 5
            line = {"score": 6.0}
            paper = (scan(rng.random(), detector="paper"), scan(rng.random(), detector="paper"))
            models.append(
                positive(f"{layout}+{i}", scan(high, thresholds=line), paper[0], layout=layout, cell=f"x/{i % 2}")
            )
            verdict = "backdoor-detected" if low > 6 else "no-backdoor-found"
            models.append(negative(f"{layout}-{i}", scan(low, verdict, thresholds=line), paper[1], layout=layout))
    return models


def chunks(png: bytes) -> list[bytes]:
    """Names of the chunks of a PNG file."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    names, at = [], 8
    while at < len(png):
        names.append(png[at + 4 : at + 8])
        at += 12 + int.from_bytes(png[at : at + 4])
    return names


def size(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[16:24]
    return int.from_bytes(head[:4]), int.from_bytes(head[4:])


@pytest.mark.parametrize("draw", [roc_figure, distribution_figure])
def test_a_figure_is_a_png_that_depends_on_the_results_only(draw: object, tmp_path: Path) -> None:
    assert callable(draw)
    models = suite()
    shuffled = random.Random(0).sample(models, len(models))
    for name, results in {"a": models, "b": shuffled, "other": suite(shift=-6)}.items():
        draw(results, tmp_path / "new" / f"{name}.png")
    first, second, other = ((tmp_path / "new" / f"{name}.png").read_bytes() for name in ("a", "b", "other"))
    assert first == second
    assert first != other
    assert set(chunks(first)) == {b"IHDR", b"pHYs", b"IDAT", b"IEND"}  # no date, no software


def test_the_style_of_a_user_neither_shows_nor_changes(tmp_path: Path) -> None:
    roc_figure(suite(), tmp_path / "a.png")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        roc_figure(suite(), tmp_path / "b.png")
        assert matplotlib.rcParams["font.size"] == 30
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_one_detector_makes_one_panel_and_more_layouts_a_wider_figure(tmp_path: Path) -> None:
    alone = [r for r in suite(("clip",)) if (r.scan("standard", "right") is not None)]
    without_paper = [type(r)(**{**vars(r), "scans": r.scans[:1]}) for r in alone]
    roc_figure(alone, tmp_path / "two.png")
    roc_figure(without_paper, tmp_path / "one.png")
    assert size(tmp_path / "two.png")[0] == 2 * size(tmp_path / "one.png")[0]
    distribution_figure(alone, tmp_path / "clip.png")
    distribution_figure(suite(), tmp_path / "both.png")
    assert size(tmp_path / "both.png")[0] > size(tmp_path / "clip.png")[0]


def test_the_threshold_is_drawn_where_the_scans_have_it(tmp_path: Path) -> None:
    models = [
        positive("p", scan(9, thresholds={"score": 6.0})),
        negative("n", scan(3, "no-backdoor-found", thresholds={"score": 6.0})),
    ]
    distribution_figure(models, tmp_path / "line.png")
    bare = [positive("p", scan(9)), negative("n", scan(3, "no-backdoor-found"))]
    distribution_figure(bare, tmp_path / "bare.png")
    assert (tmp_path / "line.png").read_bytes() != (tmp_path / "bare.png").read_bytes()


def test_controls_have_a_row_for_each_strength(tmp_path: Path) -> None:
    models = [
        positive("p", scan()),
        negative("n", scan(1.0, "no-backdoor-found")),
        negative("o", scan(1.0, "no-backdoor-found")),
    ]
    distribution_figure(models, tmp_path / "one.png")
    distribution_figure([*models[:2], dataclasses.replace(models[2], cell="alias heavy")], tmp_path / "two.png")
    assert size(tmp_path / "two.png")[1] > size(tmp_path / "one.png")[1]


def test_a_slanted_piece_of_a_curve_stays_on_its_line() -> None:
    dense = _dense([(0.0, 0.0), (0.0, 0.5), (1.0, 1.0)])
    assert dense[:2] == [(0.0, 0.0), (0.0, 0.5)]
    assert dense[-1] == (1.0, 1.0)
    assert len(dense) > 50
    assert all(y == pytest.approx(0.5 + x / 2) for x, y in dense[1:])


def test_a_dollar_sign_in_a_cell_is_no_formula(tmp_path: Path) -> None:
    distribution_figure([positive("p", scan(), cell="$\\undefined$")], tmp_path / "a.png")
    assert size(tmp_path / "a.png")[1] > 0


def test_nothing_to_draw_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="backdoored and benign"):
        roc_figure([positive("p", scan())], tmp_path / "a.png")
    with pytest.raises(ConfigError, match="'paper' scanned no model"):
        distribution_figure([positive("p", scan())], tmp_path / "a.png", detector="paper")
    assert not list(tmp_path.iterdir())


def test_everything_else_works_without_matplotlib(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["matplotlib"] = None
from pathlib import Path
from amdet_hub.bench import documents, figures
from amdet_hub.errors import ConfigError
from tests.bench.test_results import negative, positive, scan
models = [positive("p", scan()), negative("n", scan(1, "no-backdoor-found"))]
print(len(documents.report(models)) > 1000, "torch" in sys.modules)
try:
    figures.roc_figure(models, Path(sys.argv[1]) / "a.png")
except ConfigError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "True False",
        "figures: drawing needs matplotlib, which comes with the extra amdet-hub[bench]",
    ]
