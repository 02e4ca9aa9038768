"""The steps of a release: carried out, recorded, signed."""
