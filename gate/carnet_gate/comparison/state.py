"""What cargo compiles from, as it was found before cargo ran; and the comparison with it afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from carnet.cargo.names import CrateId
from carnet.value import value
from carnet_gate.comparison import surroundings
from carnet_gate.comparison.surroundings import Surroundings
from carnet_verifier.cargo.checkouts import Checkout, compare_checkouts
from carnet_verifier.cargo.localregistry import Kept, LocalRegistry, Poisoned, Unfinished, Unpacked, compare_sources


@value
class StateBefore:
    """Everything that a build comes from, compared and complete, before cargo runs.

    Attributes:
        registry: The admitted tarballs.
        home: The private CARGO_HOME.
        kept: What the tarballs unpack to.
        unpacked: The unpacked trees.
        checkouts: What the packages from git have to be.
        surroundings: What lies around all that.
    """

    registry: LocalRegistry
    home: Path
    kept: Mapping[CrateId, Kept]
    unpacked: Unpacked
    checkouts: tuple[Checkout, ...]
    surroundings: Surroundings

    def compare_again(self, *, held: bool = False) -> None:
        """Demand that all of it is as it was; whatever is missing, new or different is a change.

        Args:
            held: Whether a confinement kept the build from writing. Then only permissions can have been changed and
                changed back meanwhile, and sources are compared as they are; else also that is a change.

        Raises:
            Poisoned: Something was changed meanwhile.
            StorageError: It cannot be compared.
        """
        unpacked = Unpacked(self.unpacked.roots, {}, self.unpacked.began) if held else self.unpacked
        try:
            with self.registry.locked():
                compare_sources(self.home, self.kept, before=unpacked)
                compare_checkouts(self.home, self.checkouts)
                surroundings.compare(self.surroundings, surroundings.look(self.registry, self.home, self.kept))
        except (Poisoned, Unfinished) as error:
            raise Poisoned(
                f"{error} -- it was changed while cargo ran, so what was compiled is not sure to be what was admitted",
                hint="a build script or macro may have written there: find out what ran; then run `carnet trust clean` "
                "and `cargo clean`; until then nothing that was built is used",
            ) from None
