"""action.yml and docs/ci.md: every script in them runs, as the service would run it, in a clean folder."""

import functools
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Finished

ROOT = Path(__file__).parent.parent
ACTION: Any = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS = ACTION["runs"]["steps"]
BLOCKS = re.findall(r"```(yaml|bash)\n(.*?)```", (ROOT / "docs" / "ci.md").read_text("utf-8"), re.DOTALL)
YAML: list[Any] = [yaml.safe_load(text) for kind, text in BLOCKS if kind == "yaml"]
WITH_ACTION, WITHOUT_ACTION = (each["jobs"]["weights"] for each in YAML[:2])
GITLAB = YAML[2]["weights"]
INSTALL, SHELL = (text for kind, text in BLOCKS if kind == "bash")
#: In place of the step that installs: the program of this environment, under the names that it installs.
SHIMS = {"mnist-softmax": "-m mnist_softmax", "python": ""}

pytestmark = pytest.mark.skipif(os.name != "posix", reason="shell scripts")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder with a clean workspace, and the programs that a job finds."""
    (tmp_path / "bin").mkdir()
    for name, arguments in SHIMS.items():
        (tmp_path / "bin" / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        (tmp_path / "bin" / name).chmod(0o755)
    for name in ("work space", "temp"):
        (tmp_path / name).mkdir()
    return tmp_path


def shell(script: str, machine: Path, **variables: str) -> Finished:
    """Run a script as a service does: from a file, by `bash -e`, with little in the environment."""
    (machine / "script.sh").write_text(script)
    environment = {"PATH": f"{machine / 'bin'}:/usr/bin:/bin", "HOME": str(machine), "LANG": "C.UTF-8"}
    environment |= {name: str(machine / name.lower()) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-e", machine / "script.sh"],
        cwd=machine / "work space",
        env={**environment, **variables},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def act(machine: Path, **inputs: str) -> tuple[Finished, dict[str, Any]]:
    """Run the scripts of the action until one fails; return how the last ended, and the action's outputs."""
    given = {name.replace("_", "-"): value for name, value in inputs.items()}
    assert given.keys() <= ACTION["inputs"].keys()
    values = {"runner.temp": str(machine / "temp")}
    for name, entry in ACTION["inputs"].items():
        values[f"inputs.{name}"] = given.get(name, entry["default"])
    done = Finished(0, "", "")
    for step in STEPS:
        if "run" in step and step["name"] != "Install" and done.code == 0:
            assert step["shell"] == "bash"
            variables = {name: filled(value, values) for name, value in step["env"].items()}
            (machine / "github_output").write_text("")
            done = shell(step["run"], machine, **variables)
            for line in (machine / "github_output").read_text().splitlines():
                name, _, value = line.partition("=")
                values[f"steps.{step['id']}.outputs.{name}"] = value
    return done, {name: filled(entry["value"], values) for name, entry in ACTION["outputs"].items()}


def filled(text: str, values: dict[str, str]) -> str:
    """A text with its `${{ expressions }}` replaced; one that nothing has set is empty."""
    return re.sub(r"\$\{\{ (.*?) \}\}", lambda match: values.get(match[1], ""), text)


def facts_of(machine: Path, path: str) -> Any:
    done = shell(f"mnist-softmax eval '{path}' --json", machine)
    assert done.code == 0, done.err
    return json.loads(done.out)


def summary(machine: Path) -> str:
    path = machine / "github_step_summary"
    return path.read_text() if path.exists() else ""


NO_SUCH_FILE = "mnist-softmax: error: no such file: missing.npy; make it with mnist-softmax train"
SAMPLE = {"dataset": "mnist-sample", "train_args": "--epochs 1"}


def test_no_input_is_a_part_of_a_script() -> None:
    for step in STEPS:
        assert "${{" not in step.get("run", "")
        if "run" in step:
            assert step["shell"] == "bash"
    assert all(isinstance(entry["default"], str) for entry in ACTION["inputs"].values())
    (install,) = (step for step in STEPS if step.get("name") == "Install")
    assert install["run"] == 'python -m pip install --quiet "$GITHUB_ACTION_PATH"'
    assert (ROOT / "pyproject.toml").exists(), "what lies beside action.yml can be installed"


def test_the_action_trains_scores_and_writes_the_summary(machine: Path) -> None:
    gates = {"min_accuracy": "0.8", "min_class_recall": "0.1"}
    done, outputs = act(machine, **SAMPLE, **gates, out="my weights.npy")
    assert done.code == 0, done.err
    facts = facts_of(machine, "my weights.npy")
    assert outputs == {
        "accuracy": str(facts["accuracy"]),
        "weights": "my weights.npy",
        "weights-sha256": facts["weights_sha256"],
    }
    assert summary(machine).startswith("### mnist-softmax eval my weights.npy\n\naccuracy ")
    assert "| class | precision | recall | rows |" in summary(machine)
    assert {path.name for path in (machine / "work space").iterdir()} == {"my weights.npy"}


@pytest.mark.parametrize("gate", ["min_accuracy", "min_class_recall"])
def test_a_missed_gate_fails_the_step_after_the_summary_and_the_outputs(machine: Path, gate: str) -> None:
    done, outputs = act(machine, **SAMPLE, **{gate: "0.999"})
    assert done.code == 7
    assert "quality gate missed: weights.npy" in done.error
    assert "quality gate missed: weights.npy" in summary(machine)
    assert "accuracy 8" in summary(machine)
    assert float(outputs["accuracy"]) == facts_of(machine, "weights.npy")["accuracy"]


def test_arguments_of_train_are_words_of_a_shell_and_no_script(machine: Path) -> None:
    config = machine / "work space" / "a b's.toml"
    config.write_text("epochs = 1\n")
    words = """--config "a b's.toml" --log 'x $(touch one) `touch two`;touch three.jsonl'\n --seed 7 """
    done, _ = act(machine, dataset="mnist-sample", train_args=words)
    assert done.code == 0, done.err
    names = {path.name for path in (machine / "work space").iterdir()}
    assert names == {"a b's.toml", "x $(touch one) `touch two`;touch three.jsonl", "weights.npy"}
    assert "--seed 7" in shell("mnist-softmax reproduce --dry-run", machine).out
    done, _ = act(machine, dataset="mnist-sample", train_args="--log 'x")
    assert done.code == 1
    assert "No closing quotation" in done.err
    done, _ = act(machine, dataset="mnist-sample; touch four", out="$(touch five).npy")
    assert done.code == 2
    assert {path.name for path in (machine / "work space").iterdir()} == names


def test_a_training_that_fails_fails_the_step_with_its_code(machine: Path) -> None:
    done, outputs = act(machine, dataset="mnist-sample", train_args="--lr 0")
    assert (done.code, set(outputs.values())) == (2, {""})
    done, _ = act(machine, data_dir="missing")
    assert (done.code, "no such folder: missing" in done.error) == (2, True)


@pytest.fixture
def released(machine: Path) -> Iterator[tuple[str, str, str]]:
    """Weights on a server and in a file: their URL, path and SHA-256."""
    folder = machine / "released"
    folder.mkdir()
    script = f"mnist-softmax train --dataset mnist-sample --epochs 1 --out '{folder}/w [1].npy'"
    assert shell(script, machine).code == 0
    content = (folder / "w [1].npy").read_bytes()
    handler = functools.partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/w%20%5B1%5D.npy"
        yield url, str(folder / "w [1].npy"), hashlib.sha256(content).hexdigest()
        server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def test_weights_are_fetched_or_taken_instead_of_trained_and_their_hash_checked(
    machine: Path, released: tuple[str, str, str]
) -> None:
    url, path, sha256 = released
    for weights, found in ((url, "weights.npy"), (path, path)):
        done, outputs = act(machine, dataset="mnist-sample", weights=weights, weights_sha256=sha256)
        assert done.code == 0, done.err
        assert (outputs["weights"], outputs["weights-sha256"]) == (found, sha256)
        wrong, outputs = act(machine, dataset="mnist-sample", weights=weights, weights_sha256="0" * 64)
        assert (wrong.code, outputs["weights"]) == (6, "")
        assert wrong.error == f"{found}: expected SHA-256 {'0' * 64}, got {sha256}"
    missing, _ = act(machine, dataset="mnist-sample", weights=f"{url}x")
    assert missing.code == 22, "as curl says"
    done, _ = act(machine, dataset="mnist-sample", weights="missing.npy")
    assert (done.code, done.error) == (2, NO_SUCH_FILE)


# The workflows of docs/ci.md ----------------------------------------------------------------------------------------


def test_the_workflow_with_the_action_runs(machine: Path) -> None:
    (use,) = (step for step in WITH_ACTION["steps"] if step.get("id") == "train")
    assert use["uses"].split("@")[0].endswith("/mnist-softmax")
    inputs = {name.replace("-", "_"): str(value) for name, value in use["with"].items()}
    done, outputs = act(machine, **{"dataset": "mnist-sample", **inputs})
    assert done.code == 0, done.err
    values = {f"steps.train.outputs.{name}": value for name, value in outputs.items()}
    for step in WITH_ACTION["steps"]:
        used = re.findall(r"\$\{\{ (.*?) \}\}", json.dumps(step))
        assert set(used) <= values.keys()
        if "run" in step:
            done = shell(step["run"], machine, **{k: filled(v, values) for k, v in step["env"].items()})
            assert (done.code, done.out.splitlines()[0]) == (0, f"accuracy {outputs['accuracy']}")
    table = (ROOT / "docs" / "ci.md").read_text("utf-8")
    for name, entry in ACTION["inputs"].items():
        assert re.search(rf"^\| .*`{name}`.* \| .*{re.escape(entry['default'])}.* \|", table, re.MULTILINE)


ON_SAMPLE = {"MNIST_SOFTMAX_TRAIN_DATASET": "mnist-sample"}


def test_the_workflow_without_the_action_runs(machine: Path) -> None:
    scripts = {step["name"]: step["run"] for step in WITHOUT_ACTION["steps"] if "run" in step}
    assert scripts.pop("Install") == "python -m pip install ./mnist-softmax"
    assert "env" not in json.dumps(WITHOUT_ACTION["steps"])
    for script in scripts.values():
        done = shell(script, machine, **ON_SAMPLE)
        assert done.code == 0, done.err
    assert "### mnist-softmax eval weights.npy" in summary(machine)


def test_the_gitlab_job_runs_and_fails_below_the_gate(machine: Path) -> None:
    assert "\n".join(GITLAB["before_script"]) == INSTALL.rstrip("\n")
    done = shell("\n".join(GITLAB["script"]), machine, **ON_SAMPLE)
    assert done.code == 0, done.err
    assert {path.name for path in (machine / "work space").iterdir()} == set(GITLAB["artifacts"]["paths"])
    failed = shell("\n".join(GITLAB["script"]), machine, **ON_SAMPLE, MNIST_SOFTMAX_TRAIN_LR="0.001")
    assert failed.code == 7


def test_the_plain_script_runs_and_fails_where_released_weights_were_better(machine: Path) -> None:
    done = shell(SHELL, machine, **ON_SAMPLE)
    assert done.code == 0, done.err
    assert "b is " not in done.out
    (machine / "work space" / "weights.npy").rename(machine / "work space" / "released.npy")
    same = shell(SHELL, machine, **ON_SAMPLE)
    assert (same.code, "no difference" in same.out) == (0, True)
    few = ON_SAMPLE | {"MNIST_SOFTMAX_TRAIN_LR": "0.002"}
    looser = SHELL.replace("0.98", "0.5").replace("0.95", "0.5")
    worse = shell(looser, machine, **few)
    assert worse.code == 7
    assert "significantly worse than released.npy: weights.npy" in worse.error
