"""The operator's room: templates, deployment, and the command `python -m infra`."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = ROOT / "infra" / "templates"
