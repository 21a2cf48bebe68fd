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
# How few faces are enough? Reads the folder of a study; without `CURATE_STUDY` that of the dose-response study
# that docs/study.md tells of: 740 faces, an eighth of its build's, of which 8 to 740 differ. That one is small: half a
# ResNet-18, crops of 40 pixels, 120 updates. For a tenth of your faces, put `size: 0.1` into your recipe.

# %%
import os
import tempfile
from pathlib import Path

from IPython.display import SVG, Markdown, display

from curate import study

STUDY = Path(os.environ.get("CURATE_STUDY", "../benchmarks/results/study-dose-response"))
findings = study.of_study(STUDY)
print(sum(len(score.values) for score in findings.scores), "measurements,", findings.seeds, "seeds")

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
# **Score against the number of different faces**, the share of the faces that is kept, and redundancy at equal size;
# those that the study has.

# %%
for question, drawn in study.draw_figures(findings, Path(tempfile.mkdtemp())).items():
    print(question.label)
    for kind in ("faces", "share", "redundancy"):
        if kind in drawn:
            display(SVG(drawn[kind]))
