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
# # Is my collection redundant?
#
# Reads a finished build. Without `CURATE_BUILD` it is the demo's (`make demo`).

# %%
import json
import os
from pathlib import Path

import numpy as np
from IPython.display import SVG, display

import curate
from curate.drawing import redundancy_by_rate, redundancy_curve

BUILD = Path(os.environ.get("CURATE_BUILD", "../demo/build"))
build = curate.open_build(BUILD)
told = json.loads((BUILD / "redundancy.json").read_text())
here = next(point for point in told["curve"] if point["threshold"] == told["threshold"])
print(
    f"{told['faces']:,} faces of {told['videos']:,} videos with faces; cosine {told['threshold']:g} in {told['space']}"
)
print(f"{here['clusters']:,} differ: {here['redundancy']:.1%} of the faces repeat another one")

# %% [markdown]
# **How strict is "the same picture"?** The curve at all thresholds, each from a cover of its own. A steep curve near
# the build's threshold means that the answer hangs on it: look at `report.html`, *Where the line runs*.

# %%
display(SVG(redundancy_curve(told["curve"], told["threshold"])))

# %% [markdown]
# **Inside videos or across them?** What repeats inside videos can be had by sampling less often. What repeats across
# them cannot.

# %%
print(f"inside videos {here['within']:.1%}, across videos {here['across']:.1%}")
display(SVG(redundancy_by_rate(told["by_rate"])))

# %% [markdown]
# **Is it a few videos?** Redundancy of single videos, from the least to the most: tenths of the videos lie below each.

# %%
print("  ".join(f"{10 * k} %: {value:.2f}" for k, value in enumerate(told["by_video_quantiles"])))
for video in told["by_video"][:5]:
    print(
        f"{video['faces']:6,} faces, {video['kept']:5,} kept, {video['alone']:5,} if covered alone: {video['video_id']}"
    )

# %% [markdown]
# **Copies of whole videos.**

# %%
videos = build.videos.select(["video_id", "source", "status", "duplicate_of"]).to_pylist()
name = {video["video_id"]: Path(video["source"]).name for video in videos}
for video in videos:
    if video["duplicate_of"]:
        print(f"{name[video['video_id']]} repeats {name[video['duplicate_of']]}")

# %% [markdown]
# **How alike is what was dropped?** Cosines of dropped faces to the face that stands for them. None is below the
# threshold.

# %%
clusters = build.clusters()
similarity = clusters["similarity"].to_numpy()[~clusters["representative"].to_numpy(zero_copy_only=False)]
print("quantiles", np.quantile(similarity, [0, 0.1, 0.5, 0.9, 1]).round(4))
assert similarity.min() >= np.float32(told["threshold"]) - 1e-6
