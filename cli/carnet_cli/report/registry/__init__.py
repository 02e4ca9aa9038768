"""What the commands of `carnet mirror` and `carnet root` say."""
