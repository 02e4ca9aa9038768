"""How cargo is kept from writing to carnet's home while it compiles."""
