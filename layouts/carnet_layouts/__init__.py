"""Layout templates that people start from."""

from __future__ import annotations

from importlib.resources import files

TEMPLATES = ("minimal", "release")


def template(name: str) -> str:
    """The text of a template, `minimal` or `release`, with its comments.

    Raises:
        KeyError: There is no template of that name.
    """
    if name not in TEMPLATES:
        raise KeyError(name)
    return files(__name__).joinpath(f"{name}.toml").read_text(encoding="utf-8")
