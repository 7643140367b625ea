"""The pipeline that a user would write instead of sentistream, to measure it against: `plain` as most would write it, `tuned` by an
expert. Both give the worker's answers on any bundle of docs/bundle.md, and are started with the worker's environment variables.

Texts of fields and manifests are read by the package in models/, which needs no installation for that."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "models"))
