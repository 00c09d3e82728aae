"""Modules of this folder that tests share: odd_recordings.py and damage.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
