"""Where and from what a figure was measured."""
from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

GENERATED = ("bench/results", "docs/results.md", "docs/proofs.md")
"""Written by measuring itself, so they make no revision dirty."""


def git_revision(root: Path) -> dict[str, Any]:
    """Commit and whether sources differ from it; ``unknown`` outside a repository."""
    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True,
                              check=False)
        return done.stdout.strip() if done.returncode == 0 else ""
    changed = git("status", "--porcelain", "--", ".", *(f":!{path}" for path in GENERATED))
    return {"revision": git("rev-parse", "--short=12", "HEAD") or "unknown",
            "dirty": bool(changed)}


def processor() -> str:
    """The processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def device_note() -> dict[str, Any]:
    """Device, threads and versions; imports torch."""
    import torch
    import transformers

    name = torch.cuda.get_device_name(0) if torch.cuda.is_available() else processor()
    return {"name": name, "threads": torch.get_num_threads(), "cores": os.cpu_count(),
            "torch": torch.__version__, "transformers": transformers.__version__}
