"""A process that has no torch answers from exported files as a model in torch does."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import effnet

LEFT_OUT = (
    *("torch", "torchvision", "scipy", "sklearn", "safetensors", "matplotlib", "yaml"),
    *("rich", "typer", "tensorboard"),
)
"""All that effnet needs elsewhere."""

PROGRAM = """
import json, sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None  # importing it fails
import numpy as np
from effnet.deployment.predictor import predictor
asked = predictor(sys.argv[2], threads=1)
pictures = np.load(sys.argv[3])
print(json.dumps({
    "runtime": asked.runtime,
    "files": [p.to_dict() for p in asked.predict(sys.argv[4:], top=2)],
    "array": asked.predict(pictures).tolist(),
}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_the_same_classes_of_files_and_arrays(
    runtime: str,
    exported: Callable[[int, str], dict[str, Path]],
    draw: Callable[..., list[Path]],
    tmp_path: Path,
) -> None:
    known = exported(17, "same")
    model = effnet.load(known["torch"])
    files = [*draw(6), tmp_path / "gone.png"]
    pictures = np.random.default_rng(5).integers(0, 256, (3, 40, 50, 3), np.uint8)
    np.save(tmp_path / "pictures.npy", pictures)
    others = [
        name for name in ("onnxruntime", "onnx", "openvino", "ai_edge_litert") if name != runtime
    ]
    ended = subprocess.run(
        [
            *(sys.executable, "-c", PROGRAM, ",".join([*LEFT_OUT, *others])),
            *(str(known[runtime]), str(tmp_path / "pictures.npy"), *map(str, files)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["runtime"] == runtime
    expected = model.predict(files, top=2)
    assert [entry["label"] or entry["error"] for entry in told["files"]] == [
        p.label or p.error for p in expected
    ]
    for entry, p in zip(told["files"], expected, strict=True):
        found = [one["probability"] for one in entry["top"]]
        assert found == pytest.approx([share for _, share in p.top], abs=1e-4)
    np.testing.assert_allclose(told["array"], model.predict(pictures), atol=1e-4)
