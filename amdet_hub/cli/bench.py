"""`amdet-hub bench`: measure the scan on encoders whose truth is known.

Knows: which verbs there are; each is in a module beside this one.
"""

import click

from amdet_hub.cli import bench_make, bench_report, bench_run, bench_speed
from amdet_hub.cli._help import GroupLayout

EPILOG = """
Examples:
  {prog} bench run --suite smoke                              ten small models, in minutes, from what is installed
  {prog} bench run --suite test --captions captions.jsonl     the whole benchmark, in hours
  {prog} bench report bench/results/test.jsonl                its tables
  {prog} bench calibrate bench/results/calibration*.jsonl     the thresholds
  {prog} bench speed --model ./my-encoder                     how long scans take here

Exit codes: 0 done, 1 a check failed (a wrong verdict of the smoke suite, other thresholds), 2 usage or error, 130
interrupted.
"""


@click.group(
    cls=GroupLayout,
    commands=(
        bench_run.run,
        bench_report.report,
        bench_report.calibrate,
        bench_speed.speed,
        bench_make.pretrain,
        bench_make.inject,
        bench_make.control,
    ),
    epilog=EPILOG,
    short_help="Measure the scan on models whose truth is known.",
    no_args_is_help=True,
)
def bench() -> None:
    """Make encoders with a known backdoor and without one, scan them, and say how often the verdict was right.

    Reads captions and encoders of your own. Nothing here is safe to point at a stranger's repository: that is what
    `scan` is for.
    """
