"""A real MLflow server on the loopback address, for tests and benchmarks: it can be killed and started again."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.request

from ndm_apps import tracking


class Server:
    """``mlflow server`` on a store of its own; may be killed and started again."""

    def __init__(self, folder, database):
        self.folder, self.database = folder, database
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self, wait=True):
        command = tracking.ui_command(f"sqlite:///{self.database}", port=self.port)
        environment = tracking.ui_environment()
        environment.pop("MLFLOW_TRACKING_URI", None)
        log = (self.folder / "server.log").open("ab")
        self.process = subprocess.Popen(
            command, env=environment, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
        )
        if wait:
            self.wait()

    def wait(self):
        deadline = time.monotonic() + 240
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                if answer.status == 200:
                    return
            assert self.process.poll() is None and time.monotonic() < deadline, (self.folder / "server.log").read_text()
            time.sleep(0.1)

    def kill(self):
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
