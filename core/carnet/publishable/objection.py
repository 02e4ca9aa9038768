"""What is wrong with a package that is to be published, or worth knowing, and where that stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from carnet.cargo.original import Table, is_inherited
from carnet.errors import Unpublishable
from carnet.value import field, value

_MAX_SHOWN = 4


@value
class Objection:
    """One thing that is wrong, or worth knowing.

    Attributes:
        what: The thing, where it stands and what it says, in one line.
        advice: What to type.
        refused: Whether nothing is published with it; otherwise it is a remark.
    """

    what: str
    advice: str
    refused: bool = True


@value
class FieldPlaces:
    """Where the fields of a manifest stand, so that a message leads there.

    Attributes:
        manifest: Path of the `Cargo.toml`.
        inherited: Field of `[package]` -> the file and key of the workspace that it is inherited from.
    """

    manifest: str = "Cargo.toml"
    inherited: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, own: Table, path: str, workspace: str) -> FieldPlaces:
        """Of a manifest in a repository.

        Args:
            own: The manifest as it is written.
            path: Its path.
            workspace: The path of the workspace's manifest.
        """
        package = table(own, "package")
        return cls(
            path, {key: f"{workspace}: workspace.package.{key}" for key, one in package.items() if is_inherited(one)}
        )

    def package(self, key: str) -> str:
        """A field of `[package]`."""
        return self.inherited.get(key, f"{self.manifest}: package.{key}")


def judged(about: str, objections: Iterable[Objection]) -> tuple[str, ...]:
    """Demand that no objection refuses.

    Args:
        about: What is to be published.
        objections: What was found.

    Returns:
        The remarks among them.

    Raises:
        Unpublishable: Some refuse; the first four are named, with what to do.
    """
    objections = list(objections)
    refused = [objection for objection in objections if objection.refused]
    if refused:
        more = f"; and {len(refused) - _MAX_SHOWN} more" if len(refused) > _MAX_SHOWN else ""
        shown = refused[:_MAX_SHOWN]
        raise Unpublishable(
            f"{about[:120]} cannot be published: {'; '.join(one.what for one in shown)}{more}",
            hint="; ".join(dict.fromkeys(one.advice for one in shown if one.advice)),
        )
    return tuple(f"{one.what}: {one.advice}" if one.advice else one.what for one in objections)


def table(holder: Mapping[str, object], key: str) -> Table:
    """A table of a manifest; empty when there is none."""
    found = holder.get(key)
    return found if isinstance(found, dict) else {}
