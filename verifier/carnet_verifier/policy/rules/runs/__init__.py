"""The rules that are about a run or its lock, and about no crate: one in each file, found as those above."""
