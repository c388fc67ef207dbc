"""Run the two-server pair on this machine: nginx as the target, and the monitor (`make pair`)."""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from threading import Event

from infra import ROOT
from infra.local.server import HOST, Child, LocalError, check_port_free

SERVER = ROOT / "infra" / "servers" / "target"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=8000, help="the monitor's page (8000)")
    parser.add_argument("--target-port", type=int, default=8081, help="the target (8081)")
    parser.add_argument("--tls-port", type=int, default=8443, help="the target with TLS (8443)")
    parser.add_argument("--interval", default="1", metavar="S", help="between measurements (1)")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / ".local" / "pair", help="certificate, logs, history"
    )


def run(args: argparse.Namespace) -> int:
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    for port, setting in (
        (args.port, "PAIR_PORT"),
        (args.target_port, "TARGET_PORT"),
        (args.tls_port, "TLS_PORT"),
    ):
        check_port_free(port, setting)
    folder = args.folder.resolve()
    with ExitStack() as ending:
        children = []
        for child, url in (
            (start_target(folder, args.target_port, args.tls_port), args.target_port),
            (start_monitor(folder, args.port, args.target_port, args.interval), args.port),
        ):
            ending.callback(child.stop, 3)
            child.wait_until_up(f"http://{HOST}:{url}/", 10)
            children.append(child)
        print(f"monitor: http://{HOST}:{args.port}/", flush=True)
        print(f"target:  http://{HOST}:{args.target_port}/ and https://{HOST}:{args.tls_port}/")
        print("Ctrl-C stops both; the last hour is kept", flush=True)
        while not stop.wait(0.5):
            for child in children:
                child.check_alive()
    return 0


def start_target(folder: Path, port: int, tls_port: int) -> Child:
    """nginx with the servers' own configuration; only where it listens differs."""
    place = folder / "target"
    write_target(place, f"listen {HOST}:{port};\nlisten {HOST}:{tls_port} ssl;\n")
    certificate(place / "certificate")
    return Child("the target", nginx(place), dict(os.environ), place / "logs" / "nginx.log")


def nginx(place: Path) -> list[str]:
    """The command that serves a target's folder; raises LocalError where there is no nginx."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise LocalError("the target needs nginx: apt install nginx-light, or brew install nginx")
    # Started by root, its workers would become a user who may not be able to read the folder.
    more = "daemon off; user root;" if os.geteuid() == 0 else "daemon off;"
    return [found, "-p", str(place), "-e", "logs/error.log", "-c", "nginx.conf", "-g", more]


def write_target(place: Path, listen: str) -> None:
    """The target's folder as on the server, less its certificate."""
    for name in ("logs", "temp", "certificate"):
        (place / name).mkdir(parents=True, exist_ok=True)
    shutil.copytree(SERVER / "pages", place / "pages", dirs_exist_ok=True)
    text = (SERVER / "nginx.conf").read_text()
    if sys.platform != "linux":  # elsewhere nginx has no TCP_INFO
        text = re.sub(r"\$tcpinfo_\w+", "null", text)
    (place / "nginx.conf").write_text(text)
    (place / "listen.conf").write_text(listen)


def certificate(place: Path) -> None:
    """A self-signed certificate at the first start, by the command of the server's unit."""
    if (place / "certificate.pem").exists():
        return
    unit = (SERVER / "cloudping-target-certificate.service").read_text()
    command = re.search(r"^ExecStart=\S+/openssl (.*)$", unit, re.MULTILINE)
    if command is None:
        raise LocalError(f"{SERVER} has no command that makes a certificate")
    words = command[1].replace("%H", "localhost").split()
    done = subprocess.run(
        ["openssl", *words], cwd=place, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise LocalError(f"openssl made no certificate: {done.stderr.strip()}")
    (place / "key.pem").chmod(0o600)


def start_monitor(folder: Path, port: int, target_port: int, interval: str) -> Child:
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'probes'}",
        "HOST": HOST,
        "PORT": str(port),
        "TARGET_HOST": HOST,
        "TARGET_PORT": str(target_port),
        "CHECK_INTERVAL_SECONDS": interval,
        "HISTORY_FILE": str(folder / "history.jsonl"),
    }
    command = [
        str(Path(sys.executable).with_name("gunicorn")),
        f"--config={ROOT / 'probes' / 'monitor' / 'gunicorn.conf.py'}",
    ]
    return Child("the monitor", command, environment, folder / "logs" / "monitor.log")
