"""Terminals: results, errors, passphrases, exit statuses."""
