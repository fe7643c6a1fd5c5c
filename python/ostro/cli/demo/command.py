"""The ``ostro demo`` command: start a cloud of its own, run the steps, take everything down again."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import trio

from ostro.cli.demo.leftovers import Owned, find_traces
from ostro.cli.demo.logs import keep_logs
from ostro.cli.demo.runner import Runner, StepFailed, run_ostro
from ostro.cli.demo.steps import run_steps
from ostro.cli.up import check_user
from ostro.guest import build_image
from ostro.model.errors import OstroError

START_S = 60.0


class DemoCloud:
    """``ostro up`` on a state directory of its own, and ``ostro down`` at the end."""

    def __init__(self, state: Path, options: tuple[str, ...] = ()) -> None:
        self.state = state
        self._options = options
        self.log = state.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The control plane's process."""
        assert self._process is not None, "it has been started"
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it serves."""
        with self.log.open("wb") as log:
            words = ["up", "--state", str(self.state), "--listen", "127.0.0.1:0", *self._options]
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ostro", *words], stdout=log, stderr=log, start_new_session=True
            )
        deadline_s = time.monotonic() + START_S
        while not (self.state / "clouds.yaml").exists():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                raise StepFailed(f"the cloud did not start; its log:\n{self.log_tail()}")
            time.sleep(0.05)

    def log_tail(self, lines: int = 30) -> str:
        """The last lines that it logged."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> str:
        """Stop everything; what ``ostro down`` said if it failed."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
        done = run_ostro("down", "--state", str(self.state), "--purge")
        return done.stderr if done.returncode else ""


def find_image(images: Path) -> Path:
    """The tiny guest's image, built if it isn't there."""
    image = images / "tiny.qcow2"
    if not image.exists():
        click.echo("building the tiny guest's image from Debian packages, some 10 s ...")
        images.mkdir(parents=True, exist_ok=True)
        build_image("tiny", image, images)
    return image


async def _run(image: Path, state: Path) -> bool:
    cloud = DemoCloud(state)
    run = Runner(state / "clouds.yaml")
    try:
        with run.step("cloud started"):
            cloud.start()
        with run.step("its host registered"):
            await run.await_host()
        await run_steps(run, image)
    except OstroError:
        click.echo(f"\nThe cloud's last log lines:\n{cloud.log_tail()}\n", err=True)
        keep_logs(state.parent)
    finally:
        tear_down(run, cloud, state)
    return run.print_table()


def tear_down(run: Runner, cloud: DemoCloud, state: Path) -> None:
    """Stop the cloud, and look for what it has left on the machine."""
    owned = Owned(state, run.servers, run.ports)
    try:
        with run.step("cloud stopped, nothing left behind") as row:
            there = len(find_traces(owned))
            trouble = cloud.stop()
            cloud.log.unlink(missing_ok=True)
            left = find_traces(owned)
            if trouble or left or not there:
                raise StepFailed("; ".join([*left, trouble]) or "no trace of the cloud was found while it ran")
            row.result = f"{there} files, links and processes before, none after"
    except StepFailed:
        return  # It is in the table.


images_option = click.option(
    "--images",
    default=".cache/guest",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the tiny guest's image is, or is built.",
)


@click.command()
@images_option
def demo(images: Path) -> None:
    """Start a cloud, use it with the `openstack` command, take it down; print a table of what held."""
    check_user("libvirt")
    image = find_image(images)
    state = Path(tempfile.mkdtemp(prefix="ostro-demo-")) / "state"
    held = trio.run(_run, image, state)
    state.parent.rmdir()
    sys.exit(0 if held else 1)
