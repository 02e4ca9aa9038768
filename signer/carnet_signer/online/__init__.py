"""The process that holds the online keys, and how others reach it."""
