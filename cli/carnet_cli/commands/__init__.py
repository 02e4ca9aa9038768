"""What people type, by audience: who builds, who maintains crates, who runs a registry."""
