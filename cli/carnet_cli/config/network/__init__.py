"""How servers are reached from here, and as whom: what of cargo's configuration, the environment and files counts."""
