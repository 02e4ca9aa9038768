"""Which versions of a crate a registry lists, under whichever spelling it has the crate."""

from __future__ import annotations

from carnet.cargo.index_file import IndexFile
from carnet.cargo.names import CrateId, CrateName
from carnet.claims.releases import Releases
from carnet.errors import ConfigError
from carnet.publishable.checks import spellings
from carnet.tuf import paths
from carnet_verifier.tuf.repository import TrustedRepository


def spelled_in(repository: TrustedRepository, name: CrateName) -> CrateName | None:
    """How the registry spells a crate, `-` and `_` taken for one another; None when it signed that it has none.

    Args:
        repository: What is published, verified.
        name: The crate, as somebody typed it.

    Raises:
        TransportError: A part of the index could not be fetched: nothing was decided.
    """
    names = {paths.index_path(one): one for one in (name, *spellings(name))}
    found = [names[path] for path, target in repository.find_targets(list(names)).items() if target is not None]
    return found[0] if found else None


def check_spelling(repository: TrustedRepository, name: CrateName) -> None:
    """Demand that a crate which is published is spelled as it is published.

    Raises:
        ConfigError: The registry has it under another spelling.
        TransportError: A part of the index could not be fetched: nothing was decided.
    """
    names = sorted({str(crate.name) for crate in versions_of(repository, name)})
    if names and str(name) not in names:
        raise ConfigError(
            f"the registry publishes {names[0]}, and {name} is another spelling of it", hint=f"type {names[0]}"
        )


def versions_of(repository: TrustedRepository, name: CrateName) -> tuple[CrateId, ...]:
    """Every version that the registry lists, or that the crate's maintainers signed.

    Raises:
        FormatError: The index file does not parse.
        TransportError: It could not be fetched: nothing was decided.
    """
    found: set[CrateId] = set()
    claim = repository.claim(name)
    if claim is not None:
        found |= {release.id for release in Releases.of(name, claim.crate)}
    spelled = spelled_in(repository, name)
    if spelled is not None:
        target = repository.find_target(paths.index_path(spelled))
        found |= {line.id for line in IndexFile.from_bytes(repository.download(target), spelled).lines}
    return tuple(sorted(found))
