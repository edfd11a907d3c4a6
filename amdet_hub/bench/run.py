"""Runs a suite: makes what is missing, scans what was not scanned, over several processes.

Resumable: what is done stays done.

    WORK/bases/<base>/               clean encoders, made once
    WORK/models/<model>/             labelled encoders; `bench.json` holds how each was made
    RESULTS/<suite>.jsonl            one line per model (`amdet_hub.bench.results`)
    RESULTS/<suite>.manifest.json    digests of everything the figures rest on

A model is made again when its recipe is another, and scanned again when its weights are others: both are compared, not
assumed. A scan that another version or configuration made is not told apart: remove its results first. The manifest
states the configurations.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import amdet_hub
from amdet_hub.bench.attack_recipe import AttackRecipe
from amdet_hub.bench.attacks import inject
from amdet_hub.bench.bases import make_base, make_near_miss
from amdet_hub.bench.captions import CaptionSet, read_captions, split
from amdet_hub.bench.controls import make_control
from amdet_hub.bench.results import ModelResult, append_result, read_results, tidy
from amdet_hub.bench.scanning import Bench, Truth, bench_config
from amdet_hub.bench.trained import BENCH_FILE, open_trained, save_trained, sha256_of
from amdet_hub.bench.worker_processes import interrupts_held_back, worker_pool
from amdet_hub.bench.zoo_specs import ModelSpec, Suite

# Groups of captions that no model is trained on.
HELD_OUT = 500

# Texts among which a recovered target must be found.
BANK_SIZE = 10_000

_LEAST_SUCCESS = 0.5  # an injection that works on fewer held-out captions is no positive


@dataclass(frozen=True)
class Place:
    """Where a suite lives and what it is made from.

    Attributes:
        work: bases and models; may be deleted once the results are there.
        results: the small files that are kept.
        captions: a caption file, or the captions themselves.
        bases: folders of bases that are not to be trained, by name.
    """

    work: Path
    results: Path
    captions: Path | tuple[tuple[str, ...], ...]
    bases: Mapping[str, Path]

    def base(self, name: str) -> Path:
        """The folder of a base."""
        return self.bases.get(name, self.work / "bases" / name)

    def near_miss(self, name: str) -> Path:
        """The folder of its near-miss fine-tune."""
        return self.work / "bases" / f"{name}-near-miss"

    def split(self, seed: int) -> CaptionSet:
        """The captions, split for a base with this seed."""
        return _split(self.captions, seed)


@functools.lru_cache(maxsize=4)
def _split(captions: Path | tuple[tuple[str, ...], ...], seed: int) -> CaptionSet:
    if isinstance(captions, Path):
        return read_captions(captions, held_out=HELD_OUT, seed=seed)
    return split(captions, held_out=HELD_OUT, seed=seed)


def run_suite(
    suite: Suite,
    place: Place,
    *,
    jobs: int,
    make_only: bool = False,
    only: Callable[[ModelSpec], bool] = lambda spec: True,
    done: Callable[[str, int, int], None] = lambda line, n, total: None,
) -> Path:
    """Make and scan every model of a suite.

    Args:
        suite: what to make.
        place: where, and from what.
        jobs: processes, one thread each.
        make_only: make the models and stop before the scans.
        only: which models.
        done: called with one line of words, the number of finished models, and the number of all.

    Returns:
        The file of results.

    Raises:
        ConfigError: the captions cannot be read, or a recipe cannot be carried out.
        KeyboardInterrupt: passed on, as any other exception, after the processes were ended. What is done stays.
    """
    place = replace(place, work=place.work.resolve(), bases={n: folder.resolve() for n, folder in place.bases.items()})
    place.results.mkdir(parents=True, exist_ok=True)
    path = place.results / f"{suite.name}.jsonl"
    models = [spec for spec in suite.models if only(spec)]
    before = {r.name: r for r in read_results(path, missing_ok=True).results}
    with worker_pool(jobs) as pool:
        needed = list(dict.fromkeys(spec.base for spec in models))
        with interrupts_held_back():
            made = [pool.submit(_make_base_of, suite, place, name) for name in needed]
        for number, (name, base) in enumerate(zip(needed, made, strict=True), start=1):
            base.result()
            done(f"base {name}", number, len(needed))
        with interrupts_held_back():
            waiting = {pool.submit(_do, suite, place, spec, before.get(spec.name), make_only) for spec in models}
        for count, future in enumerate(as_completed(waiting), start=1):
            result = future.result()
            if result is not None and result != before.get(result.name):
                append_result(path, result)
            done(_line(result) if result is not None else "made", count, len(models))
    if not make_only:
        tidy(path)
        _write_manifest(suite, place, path)
    return path


def _make_base_of(suite: Suite, place: Place, name: str) -> None:
    spec = suite.base(name)
    captions = place.split(spec.seed)
    if name not in place.bases:  # those are given as folders
        make_base(spec, captions, place.base(name))
    make_near_miss(place.base(name), place.near_miss(name), captions, spec.near_miss, spec.seed)


def _do(
    suite: Suite, place: Place, spec: ModelSpec, before: ModelResult | None, make_only: bool
) -> ModelResult | None:
    """One model, in a process of its own: made, measured, scanned."""
    folder = place.work / "models" / spec.name
    facts = _made(suite, place, spec, folder)
    if make_only:
        return None
    result = _described(suite, spec, facts)
    scans = before.scans if before is not None and before.sha256 == result.sha256 else ()
    earlier = {(scan.detector, scan.reference): scan for scan in scans}
    truth = Truth(spec.attack, result.relative_change, int(facts["positions"]))
    wanted = {
        key: earlier.get(key) or _bench(suite, place, spec.base).scan(folder, open_trained(folder), truth, *key)
        for key in spec.scans
    }
    return replace(result, scans=tuple({**wanted, **earlier}.values()))


def _made(suite: Suite, place: Place, spec: ModelSpec, folder: Path) -> dict[str, Any]:
    """The facts of a model, which is trained first where it is missing or was made by another recipe."""
    recipe = json.loads(json.dumps(asdict(spec.recipe)))
    file = folder / BENCH_FILE
    if file.is_file():
        facts: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if facts["recipe"] == recipe:
            return facts
    base = open_trained(place.base(spec.base))
    captions = place.split(suite.base(spec.base).seed)
    made = (
        inject(base, captions, spec.recipe)
        if isinstance(spec.recipe, AttackRecipe)
        else make_control(base, captions, spec.recipe)
    )
    return {**save_trained(made.encoder, folder, made.facts), "recipe": recipe}


def _described(suite: Suite, spec: ModelSpec, facts: Mapping[str, Any]) -> ModelResult:
    attack = spec.attack
    backdoors = attack.backdoors if attack is not None else ()
    success = float(facts["attack_success_rate"]) if attack is not None else None
    return ModelResult(
        name=spec.name,
        suite=suite.name,
        split=spec.split,
        base=spec.base,
        layout=spec.layout,
        label=spec.label,
        cell=spec.cell,
        kind=spec.recipe.kind,
        intensity=spec.intensity,
        trigger_kind=spec.trigger_kind,
        triggers=tuple(trigger for trigger, _ in backdoors),
        targets=tuple(target for _, target in backdoors),
        kept=success is None or success >= _LEAST_SUCCESS,
        attack_success_rate=success,
        relative_change=float(facts["relative_change"]),
        seed=spec.recipe.seed,
        sha256=str(facts["sha256"]["model.safetensors"]),
        seconds_made=float(facts["seconds"]),
    )


@functools.lru_cache(maxsize=4)
def _bench_of(folder: Path, near_miss: Path, targets: tuple[str, ...], captions: CaptionSet) -> Bench:
    # Texts of the bank: all targets, held-out captions, then training captions of the base, which the target reading
    # has no use for otherwise.
    texts = list(dict.fromkeys([*captions.held_out_captions(), *(group[0] for group in captions.train[:BANK_SIZE])]))
    bank = list(dict.fromkeys([*targets, *texts]))[:BANK_SIZE]
    return Bench(open_trained(folder), folder, near_miss, texts[:HELD_OUT], bank)


def _bench(suite: Suite, place: Place, base: str) -> Bench:
    return _bench_of(place.base(base), place.near_miss(base), suite.targets, place.split(suite.base(base).seed))


def _line(result: ModelResult) -> str:
    scan = result.scan("standard", "right")
    words = f"{result.name}: {result.label}"
    if result.attack_success_rate is not None:
        words += f", attack works on {result.attack_success_rate:.0%}"
    return words if scan is None else f"{words}; {scan.verdict} ({scan.score:.2f}, {scan.seconds:.0f} s)"


def _write_manifest(suite: Suite, place: Place, path: Path) -> None:
    """Digests of captions, bases and results, versions, and the configuration of every detector."""
    captions = place.captions
    results = read_results(path).results
    used = {result.base for result in results}
    data = captions.read_bytes() if isinstance(captions, Path) else json.dumps(captions).encode()
    manifest = {
        "suite": suite.name,
        "amdet_hub": amdet_hub.__version__,
        "captions": {
            "name": captions.name if isinstance(captions, Path) else "given",
            "sha256": hashlib.sha256(data).hexdigest(),
        },
        "bases": {
            b.name: {**asdict(b), "sha256": sha256_of(place.base(b.name) / "model.safetensors")}
            for b in suite.bases
            if b.name in used
        },
        "results": {"name": path.name, "sha256": sha256_of(path), "models": len(results)},
        "configurations": {name: bench_config(name).fingerprint() for name in ("standard", "paper")},
    }
    path.with_suffix(".manifest.json").write_text(
        json.dumps(manifest, indent=2, ensure_ascii=True) + "\n", encoding="utf-8"
    )
