"""Several calls of the command in one process, for launchers: loading torch is the slow part."""
import json
import sys
from pathlib import Path

from sparseloom.sim.console import app

if __name__ == "__main__":
    for words in json.loads(Path(sys.argv[1]).read_text()):
        app(words, standalone_mode=False)
