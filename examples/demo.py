"""`make demo`: real crates, through a signed mirror, into a real cargo build; a library of our own, released by two of
three; then the attacks, each refused.

Everything happens in a temporary folder; the only network that it uses is the registry that your cargo is configured
for.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_NEEDED = {
    "cargo": "install Rust with rustup",
    "cc": "cargo links with it: install your system's C compiler, such as the package gcc",
    "git": "the library that the demo releases lies in a git repository: install your system's package git",
}
PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from carnet.cargo.lockfile import read_lockfile  # noqa: E402
from carnet.errors import CarnetError  # noqa: E402
from examples import attacks, claim_attacks, own_crates, release_attacks, releases  # noqa: E402
from examples.stage import DemoError, Stage  # noqa: E402
from examples.wire import wire  # noqa: E402


def main() -> int:
    """Run the demo.

    Returns:
        0 when everything was admitted and refused as it should be.
    """
    for needed, hint in _NEEDED.items():
        if shutil.which(needed) is None:
            print(f"error: `{needed}` is missing\nhint: {hint}")
            return 1
    cargo = shutil.which("cargo") or "cargo"
    online = registry_answers(cargo)
    if not online:
        print("the public registry cannot be reached: the demo runs on crates that it packages itself", flush=True)
    with tempfile.TemporaryDirectory(prefix="carnet-demo-") as folder:
        stage = Stage(Path(folder).resolve())
        try:
            with own_crates.program(stage, online=online) as program:
                admitted = play(stage, program)
        except (DemoError, CarnetError) as problem:
            print(f"\nerror: the demo went wrong: {problem}", flush=True)
            return 1
    print(f"\n{admitted} crates admitted, {len(stage.refused)} attacks refused", flush=True)
    return 0


def registry_answers(cargo: str) -> bool:
    """Whether cargo, as the user has configured it, reaches its registry."""
    try:
        done = subprocess.run([cargo, "info", "--quiet", "itoa"], cwd="/", capture_output=True, timeout=30, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def play(stage: Stage, program: own_crates.Program) -> int:
    """The whole path, once: ceremony, sync, serve, verify, build; claim, release, use; then the attacks.

    Returns:
        How many crates were admitted.
    """
    app = program.folder
    secret = stage.folder / "passphrase"
    secret.touch(mode=0o600)
    secret.write_text("correct horse battery staple\n")
    unlock = "--passphrase-file passphrase"

    stage.title("The ceremony: three holders, two of whom must sign")
    for name in ("alice", "bob", "carol", "online"):
        stage.run(f"carnet key generate {name} {unlock}")
    holders = "--holder alice.pub --holder bob.pub --holder carol.pub --threshold 2"
    stage.say("claims would be public for seven days before they count, and takeovers for thirty; a demo cannot wait")
    stage.run(f"carnet root init ceremony {holders} --online online.pub --claim-waits 0 --takeover-waits 0")
    stage.run(f"carnet root sign ceremony --key alice --yes {unlock}")
    stage.run("carnet root status ceremony")
    stage.run(f"carnet root sign ceremony --key bob --yes {unlock}")

    stage.title("The mirror: it vouches for what the lock needs, and signs with the online key only")
    stage.run(f"carnet mirror init mirror --ceremony ceremony --online-key online {unlock}")
    first = attacks.first_view(stage.folder / "mirror")
    stage.run(f"carnet mirror sync mirror --lockfile app/Cargo.lock {unlock}", more=program.upstream)
    stage.run("carnet mirror status mirror")
    stage.run("carnet mirror fsck mirror")
    with (
        stage.serving(f"carnet mirror serve mirror --port 0 --access-log access.log {unlock}") as mirror,
        wire(mirror) as network,
    ):
        stage.say(f"the build reaches the mirror through a network at {network.url}, which an attacker will own later")

        stage.title("The build: it trusts a root, verifies the lock, and compiles only what was admitted")
        stage.run(f"carnet trust add {network.url} --root ceremony/1.root.json")
        stage.run("carnet verify app/Cargo.lock")
        some = read_lockfile((app / "Cargo.lock").read_bytes()).registry_packages[0].id
        stage.run(f"carnet explain {some}", most=40)
        stage.run("cargo carnet build", cwd=app)
        stage.run("app/target/debug/carnet-example-app --serve 'to be or not to be'", more={"NO_PROXY": "127.0.0.1"})
        stage.say("a second run has nothing to compile, and checks everything again")
        stage.run("cargo carnet build", cwd=app)
        log = (stage.folder / "access.log").read_text()
        downloads = sum("/download" in line for line in log.splitlines())
        stage.say(f"the mirror's request log has {downloads} downloads of crates")
        if downloads < len(read_lockfile((app / "Cargo.lock").read_bytes()).registry_packages):
            raise DemoError(f"only {downloads} crates came through the mirror")

        stage.title("The claim: three owners say who releases their library, and through which steps")
        releases.make_repository(stage)
        releases.claim(stage)
        stage.title(
            "The release: tagged, reviewed, tested, packaged and rebuilt by different people, signed by two of three"
        )
        releases.release(stage)
        stage.title("The program uses the library")
        releases.use(stage, app, "0.1.0")

        stage.title("The attacks on the mirror and its network: each is tried, and must be refused")
        attacks.play(stage, app, network, first)
        stage.title("The attacks on a release: each is tried, and must be refused")
        ready = release_attacks.play(stage, network)
        stage.title(
            "The attacks by those who hold the registry, and by a repository: each is tried, and must be refused"
        )
        claim_attacks.play(stage, network)

        stage.title("The same again, untouched: the program builds, the release is published and used")
        stage.run("cargo carnet build", cwd=app)
        stage.run(f"carnet release submit {ready}")
        releases.use(stage, app, release_attacks.VERSION)
        return len(read_lockfile((app / "Cargo.lock").read_bytes()).registry_packages)


if __name__ == "__main__":
    sys.exit(main())
