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
# # Pre-training on a tenth
#
# How few faces are enough? Reads the `results.jsonl` of `curate study pipelines/small_study.yaml`; without
# `CURATE_STUDY` that of the study that docs/study.md tells of. That one is small: a network of 18
# layers, crops of 48 pixels, 300 updates; its smaller manifests hold a third of the faces. For a tenth, put `size: 0.1`
# into your recipe.

# %%
import os
import tempfile
from pathlib import Path

from IPython.display import SVG, Markdown, display

from curate import study

STUDY = Path(os.environ.get("CURATE_STUDY", "../benchmarks/results/study-small"))
lines = study.read_results(STUDY / "results.jsonl")
findings = study.find(lines)
print(len(lines), "measurements,", findings.seeds, "seeds")

# %% [markdown]
# **The verdict**, as the report has it.

# %%
display(Markdown(f"*{study.headline(findings)}.*"))
display(Markdown("\n".join(f"- {line}" for line in study.sentences(findings))))

# %% [markdown]
# **Each task**: mean and deviation over seeds, then differences with 95 % t intervals and corrected p.

# %%
for table in study.task_tables(findings):
    display(Markdown(f"**{table.title}**\n\n{study.as_markdown(table)}"))

# %% [markdown]
# **Score against the share of the faces that is kept**, and against redundancy at equal size.

# %%
for question, drawn in study.draw_figures(findings, Path(tempfile.mkdtemp())).items():
    print(question.label)
    for kind in ("share", "redundancy"):
        if kind in drawn:
            display(SVG(drawn[kind]))
