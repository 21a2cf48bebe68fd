"""One item in, items out: sources, fetch, decode, shots, detect, align, pose, quality, track, embed."""
