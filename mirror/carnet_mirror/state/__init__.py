"""What a mirror knows of what it published: its database and files."""
