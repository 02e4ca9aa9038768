"""Commands for editors: a shim, and what becomes of the calls that its cargo gets."""
