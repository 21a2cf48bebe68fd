"""Sample clips rendered from photographs that installed packages ship: `clips` says which, `film` moves the camera."""
