"""The public API: what is in it, what it costs to import, and that it answers as `carnet verify` and `explain` do."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from carnet.errors import SigningError
from carnet.tuf.example_keys import EXAMPLE_MATERIAL
from carnet.tuf.keys import PublicKey
from carnet_verifier import api
from carnet_verifier.testing import InMemoryRepository

NOW = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
SOURCE = Path(inspect.getfile(api)).read_text()
GIT = b'\n[[package]]\nname = "tool"\nversion = "0.1.0"\nsource = "git+https://git.example/tool#0123456789abcdef"\n'
OWN = b'\n[[package]]\nname = "app"\nversion = "0.1.0"\n'


@pytest.fixture
def registry() -> InMemoryRepository:
    made = InMemoryRepository(now=NOW)
    made.add("serde@1.0.219")
    made.add("anyhow@1.0.98")
    made.publish()
    return made


@pytest.fixture
def trusted(tmp_path: Path, registry: InMemoryRepository) -> Path:
    api.trust(tmp_path / "trusted", registry.root, registry.url)
    return tmp_path / "trusted"


# --- the surface ---


def test_the_surface_is_every_public_name_of_the_module_and_no_other() -> None:
    """What the module imports and does not list goes by a name of its own: it is found in the source."""
    tree = ast.parse(SOURCE)
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    public = {name for name in defined if not name.startswith("_")}
    assert public == {
        "Repository",
        "VerifiedLock",
        "explain",
        "open_repository",
        "rule",
        "setting",
        "trust",
        "verify_lock",
    }
    assert list(api.__all__) == sorted(set(api.__all__))
    assert public <= set(api.__all__)
    assert [name for name in api.__all__ if not hasattr(api, name)] == []


def test_what_is_in_the_surface_changes_only_on_purpose() -> None:
    listed = re.search(r"^## What is stable\n(.*?)(?=^## |\Z)", page(), re.DOTALL | re.MULTILINE)
    assert listed is not None
    rows = re.findall(r"^\| `[^|]*", listed[1], re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", "".join(rows))) == list(api.__all__)


def test_every_type_in_a_signature_can_be_named_from_the_surface() -> None:
    ours = {name for name, value in vars(api).items() if getattr(value, "__module__", "").startswith("carnet")}
    for name in api.__all__:
        if inspect.isfunction(getattr(api, name)):
            said = " ".join(map(str, inspect.get_annotations(getattr(api, name)).values()))
            assert set(re.findall(r"\w+", said)) & ours <= set(api.__all__), name


@pytest.mark.parametrize("name", api.__all__)
def test_every_public_name_says_what_it_is(name: str) -> None:
    value = getattr(api, name)
    text = inspect.getdoc(value) or ""
    assert text.partition("\n")[0].endswith((".", ":")), name
    if not inspect.isfunction(value):
        return
    parameters = inspect.signature(value).parameters
    annotated = inspect.get_annotations(value)
    assert set(annotated) == {*parameters, "return"}
    arguments = text.partition("Args:")[2].partition("\n\n")[0]
    assert re.findall(r"^ +(\w+): ", arguments, re.MULTILINE) == list(parameters)
    assert "Raises:\n" in text


@pytest.mark.parametrize("module", ["carnet_verifier.api", "carnet_verifier.testing"])
def test_what_is_imported_needs_no_command_line_and_no_second_opinion(module: str) -> None:
    heavy = ("click", "tuf", "in_toto", "securesystemslib", "carnet_cli", "carnet_signer", "carnet_mirror")
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_carnet_verify_does_not_import_it() -> None:
    verify = "carnet_cli.start, carnet_cli.commands.build.verifying, carnet_verifier.admit, carnet_verifier.tuf.view"
    code = f"import sys, {verify}; print('carnet_verifier.api' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# --- trusting, opening ---


def test_a_root_that_does_not_sign_itself_is_not_trusted(tmp_path: Path, registry: InMemoryRepository) -> None:
    other = InMemoryRepository(now=NOW)
    signed = registry.root.partition(b'"signed":')[2]
    forged = other.root.partition(b'"signed":')[0] + b'"signed":' + signed
    for root in (forged, b"{}"):
        with pytest.raises(api.ConfigError, match="this root cannot be trusted"):
            api.trust(tmp_path / "trusted", root, registry.url)
        assert not (tmp_path / "trusted").exists()


def test_what_is_no_url_is_not_trusted(tmp_path: Path, registry: InMemoryRepository) -> None:
    with pytest.raises(api.ConfigError):
        api.trust(tmp_path / "trusted", registry.root, "ftp://mirror.example/")
    assert not (tmp_path / "trusted").exists()


def test_a_root_with_an_example_key_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everybodys = PublicKey.ed25519(min(EXAMPLE_MATERIAL))
    monkeypatch.setattr(PublicKey, "ed25519", lambda _: everybodys)
    with pytest.raises(SigningError, match="is an example key"):
        api.trust(tmp_path / "trusted", InMemoryRepository(now=NOW).root, "https://mirror.example/")
    assert not (tmp_path / "trusted").exists()


def test_a_directory_trusts_one_repository(trusted: Path, registry: InMemoryRepository) -> None:
    with pytest.raises(api.ConfigError, match="already trusts a repository"):
        api.trust(trusted, registry.root, registry.url)


def test_an_open_repository_says_what_it_is(trusted: Path, registry: InMemoryRepository) -> None:
    with api.open_repository(trusted, now=NOW, fetcher=registry) as repository:
        assert (repository.url, repository.version, repository.now) == (registry.url, 1, NOW)
        assert repository.expires == NOW + timedelta(days=1)


def test_a_time_without_a_zone_is_refused_before_anything_is_fetched(
    trusted: Path, registry: InMemoryRepository
) -> None:
    naive = NOW.replace(tzinfo=None)
    with (
        pytest.raises(api.ConfigError, match="no time zone"),
        api.open_repository(trusted, now=naive, fetcher=registry),
    ):
        pytest.fail("opened")
    assert registry.requests == []


def test_without_a_fetcher_it_is_fetched_over_http_from_the_trusted_url(
    trusted: Path, registry: InMemoryRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Network:
        def __init__(self, url: str, **_: object) -> None:
            asked.append(url)

        def __enter__(self) -> InMemoryRepository:
            return registry

        def __exit__(self, *_: object) -> None:
            asked.append("closed")

    monkeypatch.setattr("carnet_verifier.tuf.view.HttpFetcher", Network)
    with api.open_repository(trusted, now=NOW) as repository:
        assert asked == [registry.url]
        assert repository.version == 1
    assert asked == [registry.url, "closed"]


def test_nobody_but_the_api_makes_its_evidence() -> None:
    with pytest.raises(TypeError, match="only verify_lock makes a VerifiedLock"):
        api.VerifiedLock((), (), ())
    with pytest.raises(TypeError, match="only open_repository makes a Repository"):
        api.Repository()  # type: ignore[call-arg]


# --- a lock ---


def test_a_lock_is_verified_as_a_whole(trusted: Path, registry: InMemoryRepository, tmp_path: Path) -> None:
    (tmp_path / "Cargo.lock").write_bytes(registry.lock() + OWN)
    with api.open_repository(trusted, now=NOW, fetcher=registry) as repository:
        from_file = api.verify_lock(repository, tmp_path / "Cargo.lock", api.Policy())
        from_bytes = api.verify_lock(repository, registry.lock() + OWN, api.Policy())
    assert [one.sha256 for one in from_file.admissions] == [one.sha256 for one in from_bytes.admissions]
    assert [(str(one.crate), one.level) for one in from_file.admissions] == [
        ("anyhow@1.0.98", api.Level.REGISTRY),
        ("serde@1.0.219", api.Level.REGISTRY),
    ]
    assert from_file.own == (api.CrateId.parse("app@0.1.0"),)
    assert from_file.foreign == ()


def test_one_refused_package_refuses_the_lock_and_says_why(trusted: Path, registry: InMemoryRepository) -> None:
    lock = registry.lock().replace(b"1.0.98", b"1.0.99") + GIT
    with api.open_repository(trusted, now=NOW, fetcher=registry) as repository:
        with pytest.raises(
            api.LockRefused, match=r"2 of 3 packages refused: anyhow@1\.0\.99: .* \(and 1 more\)"
        ) as found:
            api.verify_lock(repository, lock, api.Policy())
        assert [(str(crate), type(error)) for crate, error in found.value.refusals] == [
            ("anyhow@1.0.99", type(found.value.refusals[0][1])),
            ("tool@0.1.0", api.PolicyRefused),
        ]
        assert isinstance(found.value, api.VerificationError)
        assert found.value.exit_code == 1


def test_another_checksum_than_the_lock_pins_is_refused(trusted: Path, registry: InMemoryRepository) -> None:
    lock = re.sub(rb'checksum = "..', b'checksum = "00', registry.lock())
    with (
        api.open_repository(trusted, now=NOW, fetcher=registry) as repository,
        pytest.raises(api.LockRefused, match="2 of 2 packages refused"),
    ):
        api.verify_lock(repository, lock, api.Policy())


def test_a_package_from_git_is_let_in_by_the_policy_only(trusted: Path, registry: InMemoryRepository) -> None:
    warned = api.Policy(rules={api.rule("git"): api.Action.WARN})
    with api.open_repository(trusted, now=NOW, fetcher=registry) as repository:
        with pytest.raises(api.LockRefused, match=r"1 of 3 packages refused: tool@0\.1\.0"):
            api.verify_lock(repository, registry.lock() + GIT, api.Policy())
        verified = api.verify_lock(repository, registry.lock() + GIT, warned)
    (verdict,) = verified.foreign
    assert [(str(verdict.crate), finding.rule.name) for finding in verdict.findings] == [("tool@0.1.0", "git")]


def test_the_policy_is_asked(trusted: Path, registry: InMemoryRepository) -> None:
    strict = api.Policy(settings={api.setting("least-level"): api.Level.MAINTAINER})
    with (
        api.open_repository(trusted, now=NOW, fetcher=registry) as repository,
        pytest.raises(api.LockRefused, match="the policy asks for maintainer"),
    ):
        api.verify_lock(repository, registry.lock(), strict)


def test_where_nothing_can_be_decided_nothing_is_refused_or_let_in(trusted: Path, registry: InMemoryRepository) -> None:
    with api.open_repository(trusted, now=NOW, fetcher=registry) as repository:
        registry.files.clear()
        with pytest.raises(api.TransportError):
            api.verify_lock(repository, registry.lock(), api.Policy())


def test_a_lock_that_is_none_or_is_not_there(trusted: Path, registry: InMemoryRepository, tmp_path: Path) -> None:
    with api.open_repository(trusted, now=NOW, fetcher=registry) as repository:
        with pytest.raises(api.FormatError, match="is not TOML"):
            api.verify_lock(repository, b"[", api.Policy())
        with pytest.raises(api.ConfigError, match="does not exist"):
            api.verify_lock(repository, tmp_path / "Cargo.lock", api.Policy())


# --- a crate ---


def test_a_chain_holds_the_evidence_or_the_link_that_failed(trusted: Path, registry: InMemoryRepository) -> None:
    crate = api.CrateId.parse("serde@1.0.219")
    with api.open_repository(trusted, now=NOW, fetcher=registry) as repository:
        chain = api.explain(repository, crate, api.Policy())
        assert chain.failure is None
        assert chain.admission is not None
        assert chain.admission.crate == crate
        assert {link.state for link in chain.links} == {api.State.OK}
        refused = api.explain(repository, crate, api.Policy(), checksum="0" * 64)
        assert refused.admission is None
        assert refused.failure is not None
        assert isinstance(refused.failure.error, api.VerificationError)


def test_rules_and_settings_are_found_by_name() -> None:
    assert api.rule("yanked").name == "yanked"
    assert api.setting("least-age-days").default == timedelta(0)
    with pytest.raises(api.FormatError, match="is not a rule"):
        api.rule("nothing")
    with pytest.raises(api.FormatError, match="is not a setting") as found:
        api.setting("nothing")
    assert "least-age-days, least-level" in found.value.hint


# --- the page ---


def page() -> str:
    return (Path(__file__).parents[3] / "docs/api.md").read_text()


def test_the_example_of_the_page_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", page(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/api.md", "exec"), names)
    tests = [one for name, one in names.items() if name.startswith("test_")]
    assert len(tests) == 1
    for test in tests:
        assert callable(test)
        test(tmp_path)
