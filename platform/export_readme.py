"""The page that goes with an export: what it is, and how to load it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..trainables.source_ref import SourceRef


def readme(about: Mapping[str, Any]) -> str:
    """The page as Markdown; ``about`` is what ``export.json`` says."""
    value = "not scored" if about["value"] is None else f"{about['value']:.6g}"
    confirmed = f", which confirms {about['confirms']} on test seeds" if about["confirms"] else ""
    source, best = SourceRef.among(about), about["best_checkpoint"]
    other = (
        f"The best evaluation on the way was at step {best['step']:,} ({best['value']:.6g}); its state is a checkpoint of"
        " the sweep and not part of this folder.\n"
        if best and best["step"] != about["step"]
        else ""
    )
    seeds = ", ".join(str(seed) for seed in about["seeds"])
    return f"""# {about["sweep"]}: {about["trial"]}

Trial {about["trial"]}{confirmed}, of the system `{about["system"]}`{source_of(about)}.

- `{about["metric"]}`: {value}, the mean over the seeds {seeds}
- policies of step {about["step"]:,} of {about["steps"]:,}: {about["rule"]}
{other}
| file | holds |
|---|---|
| `policy-seed-N/tensors.safetensors`, `meta.json` | the policy's weights and settings, observation scale included |
| `policy-seed-N/manifest.json` | their SHA-256, checked on loading |
| `config.yaml` | the full configuration of every stage, as a sweep file takes it |
| `export.json` | all of the above as JSON, with versions, {source.kind} fingerprint and keys of the stages it stands on |
| `metrics.parquet`, `episodes.parquet` | every reported value by step and seed; every evaluation episode |

{_loading(about)}"""


def source_of(about: Mapping[str, Any]) -> str:
    """What it was learnt from, to come after the system; nothing where the system brings that."""
    source = SourceRef.among(about)
    return f", learnt from the {source.kind} `{source.name}`" if source.name else ""


def _loading_outputs(about: Mapping[str, Any], seeds: str) -> str:
    return f"""## Load it

What the function returned, one mapping per seed ({seeds}). Nothing in the files is executed, and the function is not needed:

```python
import flowsweep

outputs = flowsweep.load_outputs("{about["trial"]}")  # this folder
```

Where the file holds a system of stages instead, name it: `flowsweep.load_policy(folder, code="PATH.py:SYSTEM")`.
Without flowsweep, tensors open with `safetensors.torch.load_file`, the tables with any Parquet reader.
"""


def _loading(about: Mapping[str, Any]) -> str:
    seeds = ", ".join(str(seed) for seed in about["seeds"])
    if not source_of(about):
        return _loading_outputs(about, seeds)
    return f"""## Load it

With flowsweep {about["flowsweep_version"]} (code {about["code_version"]}) installed; nothing in the files is executed:

```python
import torch
from flowsweep.trainables.exported import load_policy

policy = load_policy("{about["trial"]}")  # this folder
lanes = {len(about["seeds"])}  # one policy per seed: {seeds}
# observations: [lanes, environments, observation size], as the environment gives them
actions = policy.act(observations, [torch.Generator().manual_seed(0) for _ in range(lanes)])  # in [-1, 1]
```

`load_learner` opens the {SourceRef.among(about).kind} too and scores: `load_learner(folder).evaluate(seeds={about["seeds"]}, episodes=50)`.
Without flowsweep, the weights open with `safetensors.torch.load_file`, the tables with any Parquet reader.
"""
