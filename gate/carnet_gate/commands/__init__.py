"""Which cargo commands there are, what a project's aliases make of them, and what each means behind the gate."""
