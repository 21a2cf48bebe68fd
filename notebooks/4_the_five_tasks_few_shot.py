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
# # The five tasks, few-shot
#
# Reads any `results.jsonl` of `curate evaluate` or `curate study`; without `CURATE_RESULTS` the few-shot measurements
# that docs/study.md tells of, and those of docs/evaluate.md. **Action units are then those of generated faces**, drawn
# by `benchmarks/drawn_units.py`: they show what the task prints, and say nothing of real faces. A task without results
# says so: which data sets are needed is in docs/evaluate.md.

# %%
import os
import tempfile
from pathlib import Path

from IPython.display import SVG, Markdown, display

from curate import evaluate

KEPT = Path("../benchmarks/results")
KEPT_FILES = [
    KEPT / "study-few-shot" / "results.jsonl",
    KEPT / "evaluate-trained-against-random.jsonl",
    KEPT / "evaluate-drawn-action-units.jsonl",
]
FILES = [Path(os.environ["CURATE_RESULTS"])] if "CURATE_RESULTS" in os.environ else KEPT_FILES
results = [measured for file in FILES for measured in evaluate.read_results(file)]
found = {task: sorted({r.dataset for r in results if r.task == task}) for task in evaluate.TASKS}
for task, names in found.items():
    print(f"{task:15} {', '.join(names) or 'no results here'}")

# %% [markdown]
# **A table a task**: mean, deviation and interval over seeds; a row for each backbone and number of labels.

# %%
display(Markdown(evaluate.render(evaluate.tables(results), "markdown")))

# %% [markdown]
# **Few-shot curves**: one metric against the number of training samples.

# %%
for path in evaluate.draw_figures(results, FILES[0].parent / "curves", Path(tempfile.mkdtemp())):
    if path.name.startswith("few-shot"):
        print(path.stem)
        display(SVG(filename=str(path)))
