"""Categories as crates.io has them: it takes the slugs of its own list, exactly as they stand there, and no others.

The list grows (its `categories.toml`), so a slug that is not known here is shown; what no slug can be is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from carnet.publishable.objection import Objection

_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*(?:::[a-z0-9]+(?:-[a-z0-9]+)*)?\Z")
_ADVICE = "take one of https://crates.io/category_slugs"
_KNOWN = frozenset(
    (
        *("accessibility", "aerospace", "aerospace::drones", "aerospace::protocols", "aerospace::simulation"),
        *("aerospace::space-protocols", "aerospace::unmanned-aerial-vehicles", "algorithms", "api-bindings"),
        *("asynchronous", "authentication", "automotive", "caching", "command-line-interface"),
        *("command-line-utilities", "compilers", "compression", "computer-vision", "concurrency", "config"),
        *("cryptography", "cryptography::cryptocurrencies", "data-structures", "database"),
        *("database-implementations", "date-and-time", "development-tools", "development-tools::build-utils"),
        *("development-tools::cargo-plugins", "development-tools::debugging", "development-tools::ffi"),
        *("development-tools::procedural-macro-helpers", "development-tools::profiling"),
        *("development-tools::testing", "email", "embedded", "emulators", "encoding", "external-ffi-bindings"),
        *("filesystem", "finance", "game-development", "game-engines", "games", "graphics", "gui"),
        *("hardware-support", "internationalization", "localization", "mathematics", "memory-management"),
        *("multimedia", "multimedia::audio", "multimedia::encoding", "multimedia::images", "multimedia::video"),
        *("network-programming", "no-std", "no-std::no-alloc", "os", "os::android-apis", "os::freebsd-apis"),
        *("os::linux-apis", "os::macos-apis", "os::unix-apis", "os::windows-apis", "parser-implementations"),
        *("parsing", "rendering", "rendering::data-formats", "rendering::engine", "rendering::graphics-api"),
        *("rust-patterns", "science", "science::bioinformatics", "science::geo", "science::neuroscience"),
        *("science::quantum-computing", "science::robotics", "security", "simulation", "template-engine"),
        *("text-editors", "text-processing", "value-formatting", "virtualization", "visualization", "wasm"),
        *("web-programming", "web-programming::http-client", "web-programming::http-server"),
        "web-programming::websocket",
    )
)


def category_objections(words: Sequence[object], where: str) -> Iterator[Objection]:
    """What is wrong with each category of a manifest.

    Args:
        words: As the manifest has them.
        where: Where they stand.
    """
    for word in words:
        if not isinstance(word, str) or _SLUG.match(word) is None:
            yield Objection(f"{where} has {str(word)[:40]!a}, which is no category of crates.io", _ADVICE)
        elif word not in _KNOWN:
            yield Objection(
                f"{where} has {word[:40]}, which is not in the list that carnet knows, and crates.io refuses what is "
                "not in its own",
                _ADVICE,
                refused=False,
            )
