"""The driver: one video through the stages, the Dask graph, progress, resume."""
