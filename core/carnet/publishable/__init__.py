"""What `cargo publish` and the registry would refuse, found before anybody signs."""
