"""curate: from a list of web videos to face manifests of chosen sizes and redundancies, and what they are worth."""
