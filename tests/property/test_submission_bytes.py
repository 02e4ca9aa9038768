"""A submission's bytes: what is written is read back, and whatever else is a refusal of ours."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from carnet.cargo.names import CrateId, CrateName
from carnet.claims.submission import Submission
from carnet.errors import FormatError
from carnet.tuf import paths
from carnet.tuf.tree import roles_of

NAME = CrateName("demo-lib")
CRATE = CrateId.of("demo-lib", "1.0.0")
PATHS = (paths.crate_path(CRATE), paths.bundle_path(CRATE), paths.layout_path(NAME, 1))

submissions = st.builds(
    Submission,
    st.just(NAME),
    st.dictionaries(st.sampled_from(roles_of(NAME)), st.binary(max_size=40)),
    st.dictionaries(st.sampled_from(PATHS), st.binary(max_size=40)),
    st.dictionaries(st.sampled_from((CRATE.stem, "demo_lib-2.0.0")), st.binary(max_size=40)),
)


@given(submissions)
def test_what_is_written_is_read_back(submission: Submission) -> None:
    body = submission.to_bytes()
    assert Submission.from_bytes(body) == submission
    assert Submission.from_bytes(body).to_bytes() == body


@given(submissions, st.data())
def test_a_changed_body_is_refused_or_another_submission(submission: Submission, data: st.DataObject) -> None:
    body = bytearray(submission.to_bytes())
    match data.draw(st.sampled_from(("flip", "cut", "more"))):
        case "flip":
            place = data.draw(st.integers(0, len(body) - 1))
            body[place] ^= data.draw(st.integers(1, 255))
        case "cut":
            del body[data.draw(st.integers(0, len(body) - 1)) :]
        case _:
            body += b"x"
    try:
        found = Submission.from_bytes(bytes(body))
    except FormatError:
        return
    assert found.to_bytes() != submission.to_bytes()


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_words(body: bytes) -> None:
    for data in (body, b"carnet-submission 1\n" + body):
        refused = ""
        try:
            Submission.from_bytes(data)
        except FormatError as error:
            refused = str(error)
        assert "\n" not in refused
