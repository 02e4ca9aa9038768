"""What a build runs cannot write to carnet's home: tried as whoever runs the tests, from root to a user without rights.

Each attack is made twice: without a confinement, where it must succeed, and within each that works here.
"""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.machines.gatebox import gate_box
from tests.support.machines.processes import running

from carnet.errors import ConfigError
from carnet_gate.confinement import bubblewrap, landlock
from carnet_gate.confinement.protection import WRITABLE, Confinement, Means, Protection, confinement

ATTACKER = r"""
import ctypes, os, shutil, stat, sys, time
attack, home, outside, victim, floor, linked = *sys.argv[1:4], int(sys.argv[4]), *sys.argv[5:]
tree = os.path.join(home, "src/leaf-1.0.0")
source = os.path.join(tree, "lib.rs")
libc = ctypes.CDLL(None, use_errno=True)

def evil(path=source):
    with open(path, "w") as file:
        file.write("evil")

def open_all():
    for path in (tree, source):
        os.chmod(path, 0o777)

def write():
    open_all(); evil()

def map_shared():
    import mmap
    open_all()
    with open(source, "r+b") as file:
        mmap.mmap(file.fileno(), 4)[:4] = b"evil"

def truncate():
    open_all(); os.truncate(source, 0)

def replace():
    open_all(); evil(outside + "/new"); os.rename(outside + "/new", source)

def remove():
    open_all(); os.unlink(source); evil()

def add():
    open_all(); evil(tree + "/build.rs"); os.rename(tree + "/build.rs", source)

def rename_tree():
    os.chmod(os.path.dirname(tree), 0o777); os.rename(tree, tree + "-x"); os.mkdir(tree); evil()

def rename_home():
    os.rename(home, home + "-x"); os.makedirs(tree); evil()

def rewrite_the_floor():
    with open(os.path.join(floor, "carnet.toml"), "w") as file: file.write("evil")

def rename_the_floor():
    os.rename(floor, floor + "-x"); os.mkdir(floor); rewrite_the_floor()

def rename_above_the_floor():
    above = os.path.dirname(floor); os.rename(above, above + "-x"); os.makedirs(floor); rewrite_the_floor()

def make_a_floor():
    os.mkdir(floor + "-none"); open(floor + "-none/carnet.toml", "w").close()

def replace_a_link():
    os.unlink(linked); os.symlink(outside, linked)

def rename_an_ancestor():
    above = os.path.dirname(home); os.rename(above, above + "-x"); os.makedirs(tree); evil()

def exchange_an_ancestor():
    above = os.path.dirname(home); new = outside + "/new"
    shutil.copytree(above, new, symlinks=True); open_in(new); evil(new + source[len(above):])
    if libc.renameat2(-100, above.encode(), -100, new.encode(), 2) != 0: raise OSError(ctypes.get_errno(), "renameat2")

def open_in(new):
    for folder, _, files in os.walk(new):
        for path in [folder, *(folder + "/" + name for name in files)]: os.chmod(path, 0o777)

def hard_link():
    os.chmod(source, 0o666); os.link(source, outside + "/link"); evil(outside + "/link")

def symbolic_link():
    open_all(); os.symlink(source, outside + "/link"); evil(outside + "/link")

def root_of_another_process():
    open_all(); evil("/proc/%d/root%s" % (victim, source))

def folder_of_another_process():
    open_all(); evil("/proc/%d/cwd/src/leaf-1.0.0/lib.rs" % victim)

def trace_another_process():
    if libc.ptrace(16, victim, 0, 0) != 0: raise OSError(ctypes.get_errno(), "ptrace")
    os.waitpid(victim, 0x40000000); libc.ptrace(17, victim, 0, 0); evil(outside + "/traced")

def memory_of_another_process():
    open("/proc/%d/mem" % victim, "r+b").close(); evil(outside + "/traced")

def outlive():
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    for stream in (0, 1, 2):
        os.dup2(os.open("/dev/null", os.O_RDWR), stream)
    end = time.monotonic() + 60
    while not os.path.exists(outside + "/ended") and time.monotonic() < end:
        time.sleep(0.01)
    try:
        open_all(); evil()
    finally:
        os.mkdir(outside + "/tried")

globals()[attack]()
"""
ATTACKS = (
    *("write", "map_shared", "truncate", "replace", "remove", "add", "rename_tree", "rename_home"),
    *("rename_an_ancestor", "exchange_an_ancestor", "hard_link", "symbolic_link", "outlive"),
    *("rewrite_the_floor", "rename_the_floor", "rename_above_the_floor", "make_a_floor", "replace_a_link"),
    *("root_of_another_process", "folder_of_another_process", "trace_another_process", "memory_of_another_process"),
)


class Target:
    """A home of carnet's, beside a folder that builds may write to."""

    def __init__(self, folder: Path) -> None:
        self.home = folder.resolve() / "share/data/carnet"
        self.source = self.home / "src/leaf-1.0.0/lib.rs"
        self.outside = folder.resolve() / "project"
        self.source.parent.mkdir(parents=True)
        self.source.write_text("good")
        self.source.chmod(0o444)
        self.source.parent.chmod(0o555)
        self.outside.mkdir()
        self.floor = folder.resolve() / "home/.config/carnet"
        self.floor.mkdir(parents=True)
        (self.floor / "carnet.toml").write_text("good")
        self.linked = folder.resolve() / "links/carnet"  # leads to a third one
        self.linked.parent.mkdir()
        (folder / "elsewhere").mkdir()
        self.linked.symlink_to(folder.resolve() / "elsewhere")

    @contextmanager
    def confined(self, means: Means) -> Iterator[Confinement]:
        deciding = [self.floor, self.floor.with_name("carnet-none"), self.linked]
        outputs = [self.outside / "target"]
        with confinement(Protection(means, ""), self.home, outputs, os.environ, deciding=deciding) as within:
            yield within

    def run(self, within: Confinement, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*within.prefix, *command],
            preexec_fn=within.enter,
            env={**os.environ, **within.environment},
            cwd=self.outside,
            pass_fds=within.descriptors,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def attack(self, attack: str, within: Confinement) -> subprocess.CompletedProcess[str]:
        """Attack, with another process of the same user at work, whose folder is the home."""
        with running(["sleep", "60"], cwd=self.home) as other:
            places = str(self.home), str(self.outside), str(other.pid), str(self.floor), str(self.linked)
            done = self.run(within, sys.executable, "-IS", "-c", ATTACKER, attack, *places)
            if attack == "outlive":
                (self.outside / "ended").mkdir()
                end = time.monotonic() + 20
                while not (self.outside / "tried").exists():
                    assert time.monotonic() < end
                    time.sleep(0.01)
            return done

    @property
    def fell(self) -> bool:
        return (
            self.source.read_text() != "good"
            or (self.outside / "traced").exists()
            or (self.floor / "carnet.toml").read_text() != "good"
            or (self.floor.with_name("carnet-none") / "carnet.toml").exists()
            or not self.linked.samefile(self.linked.parent.parent / "elsewhere")
        )


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return Target(tmp_path)


def skip_where_not(means: Means, target: Target) -> None:
    if means is Means.LANDLOCK and landlock.abi() < landlock.LEAST_ABI:
        pytest.skip(f"the kernel's Landlock has version {landlock.abi()}")
    if means is Means.BUBBLEWRAP and (reason := bubblewrap.why_not(target.home)):
        pytest.skip(reason)


REAL = (Means.LANDLOCK, Means.BUBBLEWRAP)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("means", REAL)
def test_no_attack_reaches_the_home(target: Target, tmp_path: Path, means: Means, attack: str) -> None:
    skip_where_not(means, target)
    if attack == "replace_a_link" and means is Means.BUBBLEWRAP:
        pytest.skip("a link is no mount point: bubblewrap does not hold it, and docs/build-systems.md says so")
    with target.confined(means) as within:
        target.attack(attack, within)
        assert not target.fell
        control = Target(tmp_path / "control")
        done = control.attack(attack, Confinement())
        if not control.fell and ("another_process" in attack):
            pytest.skip(f"this machine allows it to nobody: {done.stderr.strip().rpartition(chr(10))[2]}")
        assert control.fell, done.stderr


@pytest.mark.parametrize("means", REAL)
def test_what_a_build_does_elsewhere_it_still_can(target: Target, means: Means) -> None:
    skip_where_not(means, target)
    script = (
        "import os, tempfile\n"
        "os.makedirs('target/x'); open('target/x/a', 'w').write('1'); os.rename('target/x/a', 'b'); os.link('b', 'c')\n"
        "os.symlink('b', 'd'); os.truncate('c', 0); os.unlink('d'); os.mkfifo('e'); open('/dev/null', 'w').write('1')\n"
        "tempfile.TemporaryFile().write(b'1')\n"
        f"assert open({str(target.source)!r}).read() == 'good'\n"
    )
    with target.confined(means) as within:
        done = target.run(within, sys.executable, "-IS", "-c", script)
    assert done.returncode == 0, done.stderr


MOUNTS = (
    'umount -l "$0"; mount -o remount,rw,bind "$0"; mount -o remount,rw "$0"; chmod -R u+w "$0/src"; '
    'echo -n evil > "$0/src/leaf-1.0.0/lib.rs"'
)


@pytest.mark.parametrize("inner", [[], ["unshare", "-Urm"]])
@pytest.mark.parametrize("means", REAL)
def test_nothing_is_unmounted_or_mounted_anew(target: Target, tmp_path: Path, means: Means, inner: list[str]) -> None:
    skip_where_not(means, target)
    command = [*inner, "sh", "-c", MOUNTS]
    with target.confined(means) as within:
        target.run(within, *command, str(target.home))
        assert not target.fell
    weak = Target(tmp_path / "weak")  # what does not hold: a mount that the inner process may change again
    lay = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    done = weak.run(
        Confinement(("unshare", "-Urm", "sh", "-c", lay, str(weak.home))), "sh", "-c", MOUNTS, str(weak.home)
    )
    if "unshare" in done.stderr:
        pytest.skip(f"no namespace to show what does not hold: {done.stderr.strip()[:100]}")
    assert weak.fell, done.stderr


def test_no_privilege_is_gained_inside(target: Target) -> None:
    skip_where_not(Means.LANDLOCK, target)
    with target.confined(Means.LANDLOCK) as within:
        assert "NoNewPrivs:\t1" in target.run(within, "cat", "/proc/self/status").stdout


@pytest.mark.root
def test_root_has_no_way_around_paths(target: Target) -> None:
    """Devices that hold the file system, and files that tell the kernel what to start outside."""
    skip_where_not(Means.LANDLOCK, target)
    if os.geteuid() != 0:
        pytest.skip("only root could")
    script = (
        "import os, sys\n"
        "done = []\n"
        "for name, attempt in {\n"
        "    'device': lambda: os.mknod('disk', 0o60600, os.makedev(253, 0)),\n"
        "    'core pattern': lambda: open('/proc/sys/kernel/core_pattern', 'r+').close(),\n"
        "}.items():\n"
        "    try: attempt(); done.append(name)\n"
        "    except OSError as error: print(error, file=sys.stderr)\n"
        "print(done)\n"
    )
    with target.confined(Means.LANDLOCK) as within:
        assert target.run(within, sys.executable, "-IS", "-c", script).stdout == "[]\n"
        capabilities = target.run(within, "grep", "CapEff", "/proc/self/status").stdout.split()[1]
    assert int(capabilities, 16) & sum(1 << number for number in (2, 9, 16, 17, 19, 21, 22, 25, 26, 27, 32, 33)) == 0
    if target.run(Confinement(), sys.executable, "-IS", "-c", script).stdout == "[]\n":
        pytest.skip("this root can do none of it anyway")


TYPIST = r"""
import ctypes, fcntl, os, termios
libc = ctypes.CDLL(None, use_errno=True)
terminal = os.open("/dev/tty", os.O_RDWR)
number = {"x86_64": 16}.get(os.uname().machine, 29)
for how in (
    lambda: fcntl.ioctl(terminal, termios.TIOCSTI, b"x"),
    lambda: libc.ioctl(terminal, ctypes.c_ulong(0x500005412), b"x") and os.stat("/none/refused"),
    lambda: libc.syscall(number, terminal, ctypes.c_ulong(0x5412), b"x") and os.stat("/none/refused"),
    lambda: libc.syscall(0x40000000 | 514, terminal, ctypes.c_ulong(0x5412), b"x") and os.stat("/none/refused"),
):
    try: how(); print("typed")
    except OSError: print("refused")
print(len(fcntl.ioctl(terminal, termios.TIOCGWINSZ, bytes(8))))
"""


@pytest.mark.parametrize("means", [*REAL, Means.NONE])
def test_nobody_types_into_the_terminal(target: Target, means: Means) -> None:
    """What is typed there, the shell that started carnet runs later, outside of every confinement."""
    skip_where_not(means, target)
    with target.confined(means) as within:
        pid, master = pty.fork()
        if pid == 0:
            try:
                done = target.run(within, sys.executable, "-IS", "-c", TYPIST)
                os.write(1, (done.stdout + done.stderr + "END").encode())
            finally:
                os._exit(0)
        said = b""
        while not said.endswith(b"END"):
            said += os.read(master, 4096)
        os.waitpid(pid, 0)
        os.close(master)
    lines = said.decode().split()
    if means is not Means.NONE:
        assert lines == [*["refused"] * 4, "8", "END"]
    elif "typed" not in lines:
        pytest.skip("this kernel lets nobody type (dev.tty.legacy_tiocsti)")
    else:
        assert said.count(b"typed") == 3, said  # the positive control


def test_a_temporary_folder_that_leads_to_the_home(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside an ancestor nothing new can be made; the command gets a temporary folder in which it can."""
    skip_where_not(Means.LANDLOCK, target)
    above = target.home.parent
    monkeypatch.setenv("TMPDIR", str(above))
    monkeypatch.setattr("tempfile.tempdir", None)
    with target.confined(Means.LANDLOCK) as within:
        done = target.run(within, sys.executable, "-IS", "-c", "import tempfile; print(tempfile.mkdtemp())")
        assert done.stdout.startswith(str(above)), done.stderr
        assert done.returncode == 0
        beside = target.run(within, "mkdir", str(above / "new"))
        assert beside.returncode != 0
    assert [path.name for path in above.iterdir()] == ["carnet"]


@pytest.mark.parametrize("named", ["", "share/caches", "share/data/carnet/src"])
def test_caches_can_be_kept_on_a_new_machine(target: Target, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    """In a home above carnet's nothing new can be made; the folder for caches is there before."""
    skip_where_not(Means.LANDLOCK, target)
    home = target.home.parent.parent
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home.parent / named) if named else "relative")
    cache = home.parent / named if named else home / ".cache"
    script = "import os, sys; os.mkdir(sys.argv[1] + '/go-build'); open(sys.argv[1] + '/go-build/a', 'w').write('1')"
    with target.confined(Means.LANDLOCK) as within:
        kept = target.run(within, sys.executable, "-IS", "-c", script, str(cache))
        assert (kept.returncode == 0) == (target.home not in cache.parents), kept.stderr
        assert target.run(within, "mkdir", str(home / ".other")).returncode != 0
    assert target.home in cache.parents or cache.stat().st_mode & 0o777 == 0o700


def test_a_target_folder_that_is_not_apart_from_the_home_is_refused(target: Target) -> None:
    for output in (target.home, target.home / "target", target.home.parent):
        with (
            pytest.raises(ConfigError, match="are not apart"),
            confinement(Protection(Means.NONE, ""), target.home, [output], {}),
        ):
            pass


# --- the same with cargo ---


SCRIPT = """
use std::{env, fs, os::unix::fs::PermissionsExt, path::PathBuf};
fn main() {
    let leaf = PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap()).parent().unwrap().join("leaf-1.0.0/src/lib.rs");
    let before = fs::metadata(&leaf).unwrap().permissions();
    fs::set_permissions(&leaf, fs::Permissions::from_mode(0o666)).unwrap();
    let written = fs::write(&leaf, "pub fn n() -> u32 { 666 }");
    fs::set_permissions(&leaf, before).unwrap();
    fs::write(env::var("HOME").unwrap() + "/said/tried", format!("{written:?}")).unwrap();
}
"""


@pytest.mark.cargo
def test_a_build_script_writes_nowhere_in_the_home(tmp_path: Path) -> None:
    if landlock.abi() < landlock.LEAST_ABI and shutil.which("bwrap") is None:
        pytest.skip("nothing here can confine a build")
    worm = honest_crate("worm", "1.0.0", files={"build.rs": SCRIPT.encode()})
    with gate_box(tmp_path, worm) as box:
        manifest = box.project / "Cargo.toml"
        manifest.write_text(manifest.read_text() + 'worm = "1"\n')
        (
            box.machine.home / "said"
        ).mkdir()  # in the home itself nothing new can be made: it holds the user's configuration
        done = box.cargo("run")
        assert "Err(" in (box.machine.home / "said/tried").read_text()
        assert done.returncode == 0, done.stderr
        assert "answer 42" in done.stdout
        assert "warning" not in done.stderr
        shutil.rmtree(box.project / "target")
        done = box.cargo("build", env={WRITABLE: "1"})
        assert (box.machine.home / "said/tried").read_text() == "Ok(())"  # the positive control
        assert f"{WRITABLE} is set [read-only-home]" in done.stderr
        assert done.returncode == 1
        (box.project / "carnet.toml").write_text('[rules]\nread-only-home = "deny"\n')
        shutil.rmtree(box.project / "target")
        box.machine.carnet("trust", "clean")
        assert f"{WRITABLE} is set [read-only-home]" in box.refused("build", env={WRITABLE: "1"})
        assert box.cargo("build").returncode == 0


OPENER = """
use std::{env, fs, os::unix::fs::PermissionsExt};
fn main() {
    println!("cargo:rerun-if-env-changed=OPEN");
    let Ok(path) = env::var("OPEN") else { return };
    let before = fs::metadata(&path).unwrap().permissions();
    fs::set_permissions(&path, fs::Permissions::from_mode(before.mode() | 0o022)).unwrap();
    if env::var_os("CLOSE").is_some() { fs::set_permissions(&path, before).unwrap(); }
}
"""


@pytest.mark.cargo
def test_a_build_script_that_opens_the_home_to_others_is_told_by_the_run_itself(tmp_path: Path) -> None:
    """No confinement looks at permissions; so that others could write there is found when cargo has ended."""
    with gate_box(tmp_path, honest_crate("worm", "1.0.0", files={"build.rs": OPENER.encode()})) as box:
        manifest = box.project / "Cargo.toml"
        manifest.write_text(manifest.read_text() + 'worm = "1"\n')
        box.works("build")  # the positive control
        home = box.machine.carnet_home
        (trust,) = (home / "trust").iterdir()
        for opened, close, told in (
            (home.parent, {}, f"{home.parent} was opened to others while cargo ran"),
            (trust / "pinned-root.json", {}, f"{trust / 'pinned-root.json'} was opened to others while cargo ran"),
            (home, {"CLOSE": "1"}, "its permissions were changed and changed back"),
        ):
            before = opened.stat().st_mode
            done = box.cargo("build", env={"OPEN": str(opened), **close})
            assert (done.returncode, told in done.stderr) == (1, True), done.stderr
            opened.chmod(before)
            assert "is not used: " in box.refused("build")
            shutil.rmtree(box.project / "target")
        box.works("build")
