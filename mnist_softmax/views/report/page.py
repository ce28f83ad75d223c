"""One self-contained page about weights: what they score, what they learned, where they fail, and a canvas.

`page.html.j2` is the page, with a template for each part, `style.css` its style. `normalize.js` has the
preparation and the model, `try.js`, `learned.js` and `confused.js` the interaction of the sections that they
are named after. All go into one file that needs no network. Jinja2 and Pillow come with the extra ``report``.
"""

import base64
import hashlib
import json
import shlex
from pathlib import Path
from typing import Any

from mnist_softmax.data.split import Split
from mnist_softmax.errors import WeightsError, require
from mnist_softmax.features import steps
from mnist_softmax.records.receipt import train_arguments
from mnist_softmax.runs import score
from mnist_softmax.runs.model import Model
from mnist_softmax.runs.replay import Replay
from mnist_softmax.scoring import calibration
from mnist_softmax.scoring.metrics import Evaluation
from mnist_softmax.settings import Settings
from mnist_softmax.version import __version__
from mnist_softmax.views.pictures import places
from mnist_softmax.views.report import about, charts, confused, learned

_FOLDER = Path(__file__).parent
_SCRIPTS = ("normalize.js", "try.js", "learned.js", "confused.js")
#: The feature steps that normalize.js knows.
PORTED_STEPS = frozenset({"deskew", "directions"})
#: Pixels along a cell of directions.
CELL = 12


def check_installed() -> None:
    """Raise UsageError if Jinja2 or Pillow is not installed."""
    require("jinja2", "Jinja2", "report")
    require("PIL", "Pillow", "report")


def render(model: Model, split: Split, replay: Replay | str) -> tuple[str, dict[str, Any]]:
    """Score a model on a split and make the page about it.

    Parameters
    ----------
    replay : the model trained again, or why that was not done.

    Returns
    -------
    HTML; and the figures in it: those that `eval --json` prints, but of a folder only its name.

    Raises
    ------
    UsageError : Jinja2 or Pillow is not installed.
    WeightsError : the model does not fit the rows, or needs a feature step that the page's script lacks.
    """
    check_installed()
    unknown = [step for step in model.features if step not in PORTED_STEPS]
    if unknown:
        raise WeightsError("the page does not know the weights' features", model.path, got=unknown[0])
    evaluation = score.evaluate(model, split)
    facts = {**score.scores(model, split, evaluation), "dataset": split.source.public.label}
    parameters, names = model.parameters_for(split), score.class_names(model, split.source)
    shape = steps.shape(split.height, split.width, model.features)
    of_picture = places(shape, CELL)
    templates, scale = learned.template_addresses(parameters, of_picture)
    moments = None if isinstance(replay, str) else learned.moments(replay.moments, parameters)
    data = {
        **_settings(model),
        "height": split.height,
        "width": split.width,
        "names": names,
        "split": split.name,
        "features": list(model.features),
        "picture": of_picture.tolist(),
        "weights": base64.b64encode(parameters.astype("<f4").tobytes()).decode(),
        "scale": scale,
        "moments": moments,
        **confused.data(model, split, evaluation),
    }
    context = {
        "facts": facts,
        "facts_json": _script_json(facts),
        "data": data,
        "data_json": _script_json(data),
        "many": len(names) > 12,
        "shape": shape,
        "edges": len(shape) > 2,  # not pixels of an image
        "picture": of_picture.shape,
        "parameters": parameters.size,
        "templates": templates,
        "averages": learned.averages(model, split, len(names)),
        "replay": replay,
        "moments_chart": charts.of_moments(moments["figures"]) if moments else "",
        "about": about.facts(model, split, evaluation),
        **confused.section(model, split, evaluation),
        **_trust(evaluation, split),
        **_training(model),
    }
    return _environment().get_template("page.html.j2").render(context), facts


def _settings(model: Model) -> dict[str, float]:
    """What the learning step takes: the rate that fits the features, and the penalty of the receipt."""
    fitting = Settings.for_features(model.features)
    return {"lr": fitting.lr, "reg": (model.receipt.hyperparameters if model.receipt else fitting).reg}


def _trust(evaluation: Evaluation, split: Split) -> dict[str, Any]:
    """The section on how far the probabilities can be trusted."""
    bins, error = calibration.reliability(evaluation, split.labels)
    return {"bins": bins, "calibration_error": error, "reliability_chart": charts.reliability_chart(bins)}


def _training(model: Model) -> dict[str, Any]:
    """The section on how the model was trained."""
    history = model.receipt.history if model.receipt else []
    return {
        "receipt": model.receipt,
        "source": model.source and model.source.public,
        "features": model.features,
        "train_command": repeat_command(model),
        "history": charts.thinned(history),
        "loss_chart": charts.loss_chart(history),
        "accuracy_chart": charts.accuracy_chart(history),
    }


def _environment() -> Any:
    """The templates, with the style and the script, and how they write figures."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, probability=probability, count="{:,}".format)
    script = "\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    environment.globals.update(
        version=__version__,
        style=(_FOLDER / "style.css").read_text(encoding="utf-8"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    return environment


def percent(fraction: float | None) -> str:
    """A fraction as the page prints it."""
    return "–" if fraction is None else f"{100 * fraction:.2f} %"  # noqa: RUF001


def probability(value: float) -> str:
    """A probability as the page prints it: never 0 and never 1."""
    return "> 99.99 %" if value > 0.99995 else "< 0.01 %" if value < 0.00005 else percent(value)


def _script_json(value: object) -> str:
    """JSON that is safe in a script element: nothing in it can end the element or begin a comment."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def repeat_command(model: Model) -> list[str]:
    """The command that trains the same weights again, in parts that stay on one line; [] if unknown."""
    if model.receipt is None or model.source is None or model.path is None:
        return []
    parts = [["mnist-softmax"]]
    for word in train_arguments(model.receipt, model.source.public, Path(model.path.name)):
        if word.startswith("--"):
            parts.append([])
        parts[-1].append(word)
    return [shlex.join(words) for words in parts]
