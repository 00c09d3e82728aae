"""Lets tests import `trees`, the builder of data sets in this folder."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
