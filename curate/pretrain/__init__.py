"""Self-supervised and supervised pre-training of face backbones on one manifest."""
