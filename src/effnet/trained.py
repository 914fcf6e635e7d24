"""A network with its card, whatever it came from: answers, files, and what is better for here."""

import sys
from abc import abstractmethod
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from effnet import artifact
from effnet.card import Card
from effnet.compression.compress import MAX_DROP, compress
from effnet.compression.gate import open_for
from effnet.compression.outcome import Compression
from effnet.data.sources import DataSet
from effnet.deployment.export.check import ExportCheck, pictures_for
from effnet.deployment.export.export import export
from effnet.deployment.fastest import Fastest
from effnet.deployment.predict import Run
from effnet.deployment.predictor import Answering
from effnet.devices import on_device
from effnet.explanation.explain import explain
from effnet.explanation.explanation import Explanation
from effnet.measure.limits import Limit
from effnet.nets.network import EfficientNet
from effnet.sharing.folder import write_folder
from effnet.sharing.repository import push


class Trained(Answering):
    """What can be done with a network and what a model file says of it; `Model` is one.

    Attributes:
        net: the network.
        precision: in which `predict` computes: "float32", "bfloat16", or "auto", where a program
            that takes over from torch on a CPU may compute in bfloat16; see docs/measuring.md.
    """

    net: EfficientNet
    precision: str = "auto"
    _fastest: Fastest | None = None

    @property
    @abstractmethod
    def card(self) -> Card:
        """What a model file says of the network."""

    def save(self, path: str | Path) -> Path:
        """Write the model file, whole or not at all, and return its path.

        Raises:
            ResourceError: it could not be written.
        """
        artifact.write(path, self.net.state_dict(), self.card)
        return Path(path)

    def export_folder(self, folder: str | Path, *, licence: str | None = None) -> Path:
        """Write `config.json`, `model.safetensors` and a model card, as a hub keeps them.

        timm reads the folder too, if it has such a network, and `effnet.load` does.

        Args:
            folder: files of these names in it are replaced.
            licence: SPDX identifier; None takes that of published weights as they were loaded.

        Raises:
            ResourceError: it could not be written.
        """
        return write_folder(folder, self.net.state_dict(), self.card, licence=licence)

    def push_to_hub(
        self,
        repository: str,
        *,
        private: bool = False,
        licence: str | None = None,
        token: str | None = None,
    ) -> str:
        """Put the model on the Hugging Face hub; `effnet.load("hf://user/name")` gets it back.

        Args:
            repository: "user/name"; it is made if it does not exist.
            private: whether only its owners may see it.
            licence: SPDX identifier; None takes that of published weights as they were loaded.
            token: the hub's; None takes HF_TOKEN, or that of `hf auth login`.

        Returns:
            The repository's address.

        Raises:
            ResourceError: the hub cannot be reached or refuses, or its client is not installed.
            UsageError: the repository's name is not one.
        """
        state = self.net.state_dict()
        return push(state, self.card, repository, private=private, licence=licence, token=token)

    def export(
        self,
        out: str | Path,
        *,
        to: str,
        data: str | Path | None = None,
        embed_preprocessing: bool = False,
        precision: str = "float32",
        tolerance: float | None = None,
    ) -> ExportCheck:
        """Write the model as another program's file, load it again, and compare it with torch.

        Args:
            out: the file or folder to write, whole or not at all.
            to: "onnx", "openvino", "litert", "torch-export", "keras", ...; see docs/exporting.md.
            data: a folder of real pictures to compare on; None for the one that it was trained
                on, or, where that is not here, for some that are made.
            embed_preprocessing: the file takes uint8 (N, H, W, C) and normalises it itself.
            precision: of the weights: "float32", "float16" or "bfloat16", as the kind has it.
            tolerance: largest difference, over the largest output, with which it is kept; None for
                the precision's own.

        Raises:
            UsageError, ModelFileError, ResourceError: see `effnet.deployment.export.export.export`.
        """
        return export(
            self.net,
            self.card,
            out,
            to=to,
            pixels=embed_preprocessing,
            precision=precision,
            pictures=pictures_for(self.card, None if data is None else Path(data))[0],
            tolerance=tolerance,
        )

    def explain(
        self,
        pictures: NDArray[Any] | str | Path | Iterable[str | Path],
        *,
        label: str | None = None,
        method: str = "gradcam",
        stage: int | str | None = None,
        stride: int | None = None,
        batch_size: int = 8,
        device: str = "auto",
    ) -> list[Explanation]:
        """Find out where in pictures the answers to them come from.

        Args:
            pictures: an array (N, H, W, C), or files, folders and globs, one or several; a file
                that cannot be read is left out with a warning.
            label: the class, label or target to explain; None for the one that the model answers.
            method: "gradcam", "hirescam", "scorecam", "ig" (integrated gradients) or "occlusion".
            stage: whose map to look at: a stage's number from 0, "stem" or "head"; None for the
                head's, the last.
            stride: instead of `stage`: the last stage at this stride.
            batch_size: pictures at a time.
            device: where to run.

        Returns:
            An `Explanation` of each picture, whose `map` lies over the picture itself.

        Raises:
            UsageError: the label, the method, the stage or the stride is unknown.
            DataError: the pictures have another form, none can be read, or the model has diverged.
            ResourceError: captum is not installed.
        """
        with on_device(self.net, device):
            return explain(
                self.net,
                self.card,
                pictures,
                label=label,
                method=method,
                stage=stage,
                stride=stride,
                batch=batch_size,
            )

    def compress(
        self,
        data: str | Path | DataSet,
        out: str | Path,
        *,
        max_drop: float = MAX_DROP,
        limits: str | Iterable[str | Limit] = (),
        verbose: bool = True,
        **settings: Any,
    ) -> Compression:
        """Find the quickest way to run the model on this machine that keeps accuracy and limits.

        Args:
            data: a folder, a CSV file, the name of a data set, or a data set. Its validation split
                judges; without one the share that `fit` held out does.
            out: folder for the winner; nothing is written if nothing is better.
            max_drop: most that the task's figure may fall; 0.01 is one point of accuracy.
            limits: such as "latency=8ms,size=10MB".
            verbose: tell of each candidate on stderr.
            settings: others of `effnet.compression.compress.compress`: runtimes, precisions,
                resolutions, smaller, ...

        Raises:
            UsageError, DataError, ResourceError, Interrupted, Preempted: see
                `effnet.compression.compress.compress`.
        """
        tell = partial(print, file=sys.stderr) if verbose else lambda _: None
        opened = data if isinstance(data, DataSet) else open_for(self.card, data, tell=tell)
        return compress(
            self.net,
            self.card,
            opened,
            out=Path(out),
            max_drop=max_drop,
            limits=limits,
            tell=tell,
            **settings,
        )

    def _asked(self) -> tuple[Run, Card]:
        card, known = self.card, self._fastest
        if (
            known is None
            or known.precision != self.precision
            or not known.is_for(self.net, card.preprocessing)
        ):
            known = self._fastest = Fastest(self.net, card, precision=self.precision)
        return known, card
