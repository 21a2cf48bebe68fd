# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Choosing a manifest
#
# Two dials: how many faces, and how many of them repeat another one. Reads a finished build; without `CURATE_BUILD` it
# is the demo's (`make demo`).

# %%
import os
import tempfile
from pathlib import Path

import numpy as np
from IPython.display import Image, display

import curate
from curate.drawing import contact_sheet
from curate.manifests import lay_out
from curate.storage import open_manifest

build = curate.open_build(os.environ.get("CURATE_BUILD", "../demo/build"))
laid = lay_out(build)
faces = len(laid.ids)
print(f"{faces:,} faces in {laid.layout.clusters:,} clusters at cosine {laid.threshold:g}")

# %% [markdown]
# **What can be had?** The largest manifest at each redundancy. A low redundancy costs size: there are only so many
# faces that differ.

# %%
for redundancy in (0.0, 0.25, 0.5, 0.75, 0.9):
    print(f"redundancy {redundancy:4.2f}: at most {laid.largest(redundancy) or 0:,} faces")

# %% [markdown]
# **Equal size, different redundancy.** Each holds exactly as many faces; what differs is in how many clusters they
# fall. The number of videos shows what that does to variety.

# %%
size = max(10, laid.layout.clusters // 2)
folder = Path(tempfile.mkdtemp())
for redundancy in (0.0, 0.5, 0.8, "natural"):
    try:
        info = laid.cut(folder / f"{redundancy}.parquet", size, redundancy)
    except curate.UsageError as refusal:
        print(f"{redundancy}: {refusal}")
        continue
    videos = len(set(open_manifest(info.path).column("video_id").to_pylist()))
    print(f"{redundancy!s:>8}: {size} faces, {info.metadata.unique:4} clusters, {videos:2} videos")

# %% [markdown]
# **To the eye.** At redundancy 0 every face differs from every other one; a natural sample repeats itself as the
# collection does.

# %%
for redundancy in (0.0, "natural"):
    chosen = np.sort(laid.choose(size, redundancy))
    print(redundancy)
    display(Image(contact_sheet(build, chosen.tolist(), most=48)))

# %% [markdown]
# **Smaller ones nest in larger ones**, so that a study of sizes compares a set with its own parts.

# %%
small, large = (set(laid.choose(n, 0.0).tolist()) for n in (size // 2, size))
assert small < large
print(f"{len(small)} of {len(large)}")

# %% [markdown]
# **And then?** `curate.FaceDataset` reads a manifest for training; which one is worth most is a question for
# `curate study`.

# %%
dataset = curate.FaceDataset(folder / "natural.parquet")
print(len(dataset), dataset[0]["image"].shape)
