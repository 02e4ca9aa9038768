"""What a build did to the files that it came from, and what earlier builds left that nobody may use."""
