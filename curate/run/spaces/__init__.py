"""The embedding spaces of a build: those that all have, those of trained backbones, and vectors from stored crops."""
