"""What is wrong with a mirror comes out of the block in which it was found, and never stays inside."""

from __future__ import annotations

import pytest

from carnet.errors import CarnetError, FormatError, MetadataMismatch, TransportError
from carnet_verifier.tuf.told import of_mirror

URL = "https://mirror.example/"


@pytest.mark.parametrize(
    "error",
    [
        TransportError("nothing there", status=404),
        TransportError("busy"),
        FormatError("no role"),
        MetadataMismatch("old"),
    ],
    ids=str,
)
def test_an_error_comes_out_of_the_class_that_it_is(error: CarnetError) -> None:
    with pytest.raises(type(error)) as told, of_mirror(URL):
        raise error
    assert told.value is error
    assert error.hint or str(error) == "busy"
