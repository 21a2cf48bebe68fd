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
from IPython.display import SVG, Image, display

import curate
from curate.drawing import contact_sheet, redundancy_by_rate, redundancy_curve

BUILD = Path(os.environ.get("CURATE_BUILD", "../demo/build"))
build = curate.open_build(BUILD)
measured = json.loads((BUILD / "redundancy.json").read_text())
here = next(point for point in measured["curve"] if point["threshold"] == measured["threshold"])
print(f"{measured['faces']:,} faces of {measured['videos']:,} videos with faces")
print(f"cosine {measured['threshold']:g} in {measured['space']}")
print(f"{here['clusters']:,} differ: {here['redundancy']:.1%} of the faces repeat another one")

# %% [markdown]
# **How strict is "the same picture"?** The curve at all thresholds, each from a cover of its own. A steep curve near
# the build's threshold means that the answer hangs on it: look at `report.html`, *Where the line runs*.

# %%
display(SVG(redundancy_curve(measured["curve"], measured["threshold"])))

# %% [markdown]
# **Inside videos or across them?** What repeats inside videos can be had by sampling less often. What repeats across
# them cannot.

# %%
print(f"inside videos {here['within']:.1%}, across videos {here['across']:.1%}")
display(SVG(redundancy_by_rate(measured["by_rate"])))

# %% [markdown]
# **Is it a few videos?** Redundancy of single videos, from the least to the most: tenths of the videos lie below each.

# %%
print("  ".join(f"{10 * k} %: {value:.2f}" for k, value in enumerate(measured["by_video_quantiles"])))
for video in measured["by_video"][:5]:
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
assert similarity.min() >= np.float32(measured["threshold"]) - 1e-6

# %% [markdown]
# **To the eye.** Pairs at the border: each kept face, and the one of those that it stands for that is least like it.

# %%
rows = np.arange(len(clusters))
kept = clusters["representative"].to_numpy(zero_copy_only=False)
head = dict(zip(clusters["cluster"].to_numpy()[kept], rows[kept], strict=True))
least = rows[~kept][np.argsort(similarity, kind="stable")][:24]
display(
    Image(contact_sheet(build, [row for one in least for row in (head[clusters["cluster"][int(one)].as_py()], one)]))
)
