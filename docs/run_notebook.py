"""Run docs/walkthrough.ipynb and store its outputs: `make notebook`. A test does the same and compares."""

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOK = Path(__file__).parent / "walkthrough.ipynb"


def executed(folder: str | Path) -> NotebookNode:
    """The notebook with fresh outputs, run in `folder`; nothing in it is of this machine or of this moment.

    Raises
    ------
    nbclient.exceptions.CellExecutionError : a cell failed.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=300,
        startup_timeout=300,
        resources=resources,
        record_timing=False,
    )
    client.execute()
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook


if __name__ == "__main__":
    target = sys.argv[1] if len(sys.argv) > 1 else NOTEBOOK
    with tempfile.TemporaryDirectory() as empty:
        nbformat.write(executed(empty), target)
