"""From a finished build to manifests: which faces, at what size and redundancy; reading and exporting them."""
