"""The worker process: holds the models of one device, draws, and answers over its standard streams. Imports torch.

One thread reads messages, so that a cancellation is seen at once; the other does the work, one thing at a time. When
the server ends, in whatever way, the stream ends, and so does this process.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO

from PIL import Image

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.events import Event, Previewed, Progress, Warned
from bakehouse.core.thread_pool import WORKERS
from bakehouse.data.open_image import ImageError
from bakehouse.serve.work.messages import Message, encode, read_message

if TYPE_CHECKING:
    from bakehouse.generation.request import GeneratedImage
    from bakehouse.serve.work.safety import SafetyChecker

PROGRESS_SECONDS = 0.05
"""Reports of progress are at least so far apart; the last step is always reported."""


class Worker:
    """Answers the server's messages. Each has an `id`; its answers carry it, the last one with `done`."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source, self._sink = source, sink
        self._sending = threading.Lock()
        self._work: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._canceled: set[int] = set()
        self._safety: SafetyChecker | None = None
        self._operations: dict[str, Callable[[Message], tuple[dict[str, Any], list[bytes]]]] = {}

    def run(self) -> None:
        """Work until the stream ends."""
        threading.Thread(target=self._read, daemon=True).start()
        while True:
            message = self._work.get()
            number = int(message.values["id"])
            try:
                values, attached = self._operation(message)(message)
                self._send({"id": number, "done": True, **values}, attached)
            except Exception as e:  # every error is an answer
                self._send({"id": number, "done": True, "error": _described(e)})
            self._canceled.discard(number)

    def _operation(self, message: Message) -> Callable[[Message], tuple[dict[str, Any], list[bytes]]]:
        name = str(message.values["do"])
        if name == "begin":
            return self._begin
        return self._operations[name]

    def _read(self) -> None:
        while (message := read_message(self._source)) is not None:
            if message.values["do"] == "cancel":
                self._canceled.add(int(message.values["of"]))
            else:
                self._work.put(message)
        os._exit(0)  # the server has ended: nobody waits for what is being drawn

    def _send(self, values: dict[str, Any], attached: list[bytes] | None = None) -> None:
        data = encode(values, attached or [])
        with self._sending:
            self._sink.write(data)
            self._sink.flush()

    def _begin(self, message: Message) -> tuple[dict[str, Any], list[bytes]]:
        from bakehouse.serve.work.worker_facts import samplers_here, schedules_here, upscalers_here
        from bakehouse.serve.work.worker_models import WorkerModels, memory_of

        settings = dict(message.values["settings"])
        checker = settings.pop("safety_checker")
        models = WorkerModels(**settings)
        if checker is not None:
            from bakehouse.serve.work.safety import SafetyChecker

            self._safety = SafetyChecker(checker, models.device)

        def load(m: Message) -> dict[str, Any]:
            return models.load(m.values["ref"], m.values["base"])

        def describe(m: Message) -> dict[str, Any]:
            return models.describe(m.values["ref"], m.values["base"])

        def simple(act: Callable[[Message], object]) -> Callable[[Message], tuple[dict[str, Any], list[bytes]]]:
            return lambda m: ({"result": act(m)}, [])

        self._operations = {
            "load": simple(load),
            "describe": simple(describe),
            "unload": simple(lambda m: models.unload(m.values["key"])),
            "park": simple(lambda m: models.move(m.values["key"], to_device=False)),
            "unpark": simple(lambda m: models.move(m.values["key"], to_device=True)),
            "files": simple(lambda m: models.prompt_files()),
            "memory": simple(lambda m: memory_of(models.device)),
            "draw": lambda m: self._draw(m, models),
            "enlarge": _enlarge,
            "tag": simple(_tag),
        }
        found = {
            "device": models.device,
            "memory": memory_of(models.device),
            "samplers": samplers_here(),
            "schedules": schedules_here(),
            "upscalers": upscalers_here(),
        }
        return {"result": found}, []

    def _draw(self, message: Message, models: Any) -> tuple[dict[str, Any], list[bytes]]:
        """Draw one picture for each request; each is sent as soon as it is finished."""
        from bakehouse.generation.infotext import encode as encode_image
        from bakehouse.generation.request_json import request_from_json, request_to_json
        from bakehouse.models.sampling import SamplingCancelledError

        values = message.values
        number = int(values["id"])
        requests = [request_from_json(one) for one in values["requests"]]
        formats = values["formats"]
        watch = _Reports(lambda more: self._send({"id": number, **more}), lambda: number in self._canceled)
        began = time.perf_counter()
        try:
            pipeline = models.pipeline(values["ref"], values["base"])
            # A preview would show what the checker has not seen.
            every = 0 if self._safety else values["preview_every"]
            made = pipeline.generate(requests, preview_every=every, on_event=watch.on_event)
            for place, (drawn, form) in enumerate(zip(made, formats, strict=True)):
                flagged = self._safety is not None and self._safety.flags(drawn.image)
                image = _blackened(drawn) if flagged else drawn
                info = image.infotext if form["infotext"] else None
                data = encode_image(image.image, info, f".{form['kind']}", quality=form["quality"], provenance=True)
                picture = {
                    "picture": place,
                    "seed": image.seed,
                    "width": image.image.width,
                    "height": image.image.height,
                    "infotext": str(image.infotext),
                    "flagged": flagged,
                    "facts": {**request_to_json(image.request), "model_hash": pipeline.model_hash},
                }
                self._send({"id": number, **picture}, [data])
        except SamplingCancelledError:
            return {"canceled": True}, []
        return {"seconds": time.perf_counter() - began}, []


class _Reports:
    """Turns a pipeline's events into messages, and stops it when its caller has left."""

    def __init__(self, send: Callable[[dict[str, Any]], None], canceled: Callable[[], bool]) -> None:
        self._send, self._is_canceled = send, canceled
        self._last = 0.0

    def on_event(self, event: Event) -> None:
        from bakehouse.models.sampling import SamplingCancelledError

        if isinstance(event, Progress):
            if self._is_canceled():
                raise SamplingCancelledError("canceled by the caller")
            now = time.monotonic()
            if event.done == event.total or now - self._last >= PROGRESS_SECONDS:
                self._last = now
                self._send({"step": event.done, "steps": event.total})
        elif isinstance(event, Previewed):
            self._send({"preview": event.image, "png": event.png})
        elif isinstance(event, Warned):
            self._send({"warning": event.message})


def _blackened(drawn: GeneratedImage) -> GeneratedImage:
    """Return a black image in place of one that is not to be shown, as diffusers and A1111 do."""
    infotext = drawn.infotext.with_settings({"Safety checker": "flagged"})
    return replace(drawn, image=Image.new("RGB", drawn.image.size), infotext=infotext)


def _enlarge(message: Message) -> tuple[dict[str, Any], list[bytes]]:
    """Enlarge an image with an upscaler that `upscalers_here` names."""
    from bakehouse.data.open_image import open_image
    from bakehouse.generation.hires_upscalers import HiresUpscalers
    from bakehouse.generation.infotext import encode as encode_image

    values = message.values
    image = open_image(values["file"])
    size = int(values["width"]), int(values["height"])
    enlarged = HiresUpscalers(values["device"]).enlarge(values["upscaler"], image, size)
    return {"result": {"width": enlarged.width, "height": enlarged.height}}, [encode_image(enlarged, None, ".png")]


def _tag(message: Message) -> str:
    """Describe an image with the bundled tagger."""
    from bakehouse.core.bundled_models import BUNDLED_TAGGER
    from bakehouse.data.open_image import open_image
    from bakehouse.vision.taggers.factory import load_tagger

    tagger = load_tagger(BUNDLED_TAGGER)
    (prediction,) = tagger.predict([open_image(message.values["file"])])
    return ", ".join(tag.replace("_", " ") for tag in tagger.to_tags(prediction, tagger.thresholds))


def _described(e: Exception) -> dict[str, Any]:
    """Return an error as JSON: what users may read of it, and what kind it is."""
    if isinstance(e, ImageError):  # its message has the path of an upload
        return {"kind": "usage", "message": f"an image cannot be used: {e.reason}", "hint": e.hint}
    if isinstance(e, UsageError):
        return {"kind": "usage", "message": e.message, "hint": e.hint}
    if isinstance(e, BakehouseError):
        return {"kind": "failed", "message": e.message, "hint": e.hint}
    traceback.print_exc(file=sys.stderr)
    return {"kind": "internal", "message": f"{type(e).__name__} in the worker", "hint": "the server's log says more"}


def main() -> None:
    """Run a worker on standard input and output."""
    source = os.fdopen(os.dup(0), "rb")
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print goes to the log, not among the messages
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 0)) or WORKERS)
    Worker(source, sink).run()


if __name__ == "__main__":
    main()
