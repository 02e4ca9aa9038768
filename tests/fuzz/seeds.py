"""Valid texts that fuzzing starts from, as people and servers write them."""

from __future__ import annotations

import zlib

RICH = b"""\xef\xbb\xbf[package]
name = "demo"
version = "0.1.0"
edition = { workspace = true }
readme.workspace = true
license-file = "../LICENSE"
build = ["build.rs"]
links = "z"
[lib]
proc-macro = true
crate-type = ["rlib"]
path = "src/lib.rs"
[[bin]]
name = "tool"
path = "src/bin/tool.rs"
[dependencies]
log = { workspace = true, features = ["std"], optional = true }
own = { path = "../own", version = "0.1", package = "own-x" }
[target.'cfg(unix)'.dev-dependencies]
rand = "0.8"
[features]
default = ["log", "own?/x", "dep:log"]
[workspace.package]
edition = "2021"
readme = "README.md"
[workspace.dependencies]
log = { version = "1", default-features = false, features = ["a"] }
[badges]
x = { at = 1979-05-27T07:32:00-08:00, f = 1.5e3, n = [0xff, -1, inf] }
"""
CONFIG = b"""[source.crates-io]
replace-with = "mine"
[net]
git-fetch-with-cli = true
[build]
rustflags = ["-C", "x"]
target-dir = "t"
[target.x86_64-unknown-linux-gnu]
linker = "cc"
[registries.mine]
index = "sparse+https://host/index/"
include = [{ path = "other.toml", optional = true }, "x.toml"]
[env]
A = { value = "b", relative = true }
[alias]
b = "build"
"""
SETTINGS = b"""repository = "https://mirror.example/"
[policy]
least-level = "maintainer"
least-age-days = 14
[rules]
young = "warn"
[[require]]
crates = "serde*"
least-level = "provenance"
[[ban]]
crates = "evil"
reason = "bad"
[[exception]]
crates = "foo@1.0.0"
rule = "young"
reason = "looked at"
expires = 2026-03-01
"""

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
_BODY = zlib.compress(b"hello " * 100, 1, 31)
GZIPPED = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
INTERIM = b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n"
VERSIONS = (
    "1.2.3",
    "0.1.0-rc.1+build.5",
    "demo@1.2.3",
    ">=1.0, <2.0.0-a",
    "~1.2",
    "1.*",
    'cfg(all(unix, not(a = "b")))',
)
PATHS = (
    "crates/ab/demo/demo-1.0.0.crate",
    "index/de/mo/demo",
    "demo-1.0.0/src/lib.rs",
    "serde_json",
    "2026-01-01T00:00:00Z",
)
URLS = ("https://mirror.example:8080/a/", "http://[::1]/x/", "https://host/{crate}/{version}/{sha256-checksum}")
PKCS11 = ("token=desk;object=alice", "serial=12;id=%01%02;type=private?module-path=/usr/lib/x.so")
ARGUMENTS = (
    "+nightly build --locked -p foo --config a.b=1",
    "test -vvq --target=x -- --nocapture",
    "install foo --version 1",
)
