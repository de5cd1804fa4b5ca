"""How long a user waits for a command: ``python -m tests.chaos.bench_commands [--write]``.

Wall-clock seconds are the best of three; the processor's seconds tell what it costs where other work slows it down.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ndm_apps.files import write_text
from tests.benchmark import table

REPEATS = 3
#: The command line up to the first step of a run that is done: its first progress, or its first entry of the log.
RUN = """
import os, sys
from ndm_apps.cli import main
import ndm_apps.run as runner
made = runner.RunContext
def context(**given):
    def progress(done, total, text):
        if done > 0:
            os._exit(0)
    return made(**{**given, "progress": progress, "log": lambda *_: os._exit(0)})
runner.RunContext = context
main(sys.argv[1:])
"""
COMMAND = "import sys; from ndm_apps.cli import main; main(sys.argv[1:])"
COMMANDS = {
    ("--help",): 0.4,
    ("list",): 0.7,
    ("check", "continual/digits"): 0.7,
    ("check", "physics/pendulum"): 0.7,
    ("check", "planning/cartpole"): 0.7,
    ("check", "claims/lambda"): 0.7,
    ("run", "continual/digits"): 12.0,
    ("run", "physics/pendulum"): 12.0,
    ("run", "planning/double_integrator"): 12.0,
    ("run", "claims/lambda"): 12.0,
}


def seconds(arguments: tuple[str, ...]) -> tuple[float, float]:
    """Return the wall-clock and the processor's seconds of a command, the best of some."""
    walls, processors = [], []
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as folder:
            more = ("--no-track", "--out", str(Path(folder) / "run")) if arguments[0] == "run" else ()
            code = RUN if arguments[0] == "run" else COMMAND
            began = time.perf_counter()
            process = subprocess.Popen([sys.executable, "-c", code, *arguments, *more], stdout=subprocess.DEVNULL)
            _, status, used = os.wait4(process.pid, 0)
            walls.append(time.perf_counter() - began)
            processors.append(used.ru_utime + used.ru_stime)
            assert status == 0, (arguments, status)
    return min(walls), min(processors)


def main() -> None:
    """Measure every command, and write results/reliability/commands.md if asked to."""
    rows = []
    for arguments, limit in COMMANDS.items():
        wall, processor = seconds(arguments)
        name = "ndm " + " ".join(arguments) + (", to its first step" if arguments[0] == "run" else "")
        rows.append({"command": f"`{name}`", "aim, s": limit, "wall clock, s": round(wall, 2),
                     "processor, s": round(processor, 2)})  # fmt: skip
    text = f"Commands from the start of the process, best of {REPEATS} (`python -m tests.chaos.bench_commands`).\n\n"
    text += table(rows)
    print(text)
    if "--write" in sys.argv[1:]:
        write_text(Path("results/reliability/commands.md"), text)


if __name__ == "__main__":
    main()
