"""What every panel is: a head, widgets, one place for progress, one for messages, and the commands behind its buttons.

Work runs in a thread, so that the page stays awake: the kernel handles other buttons meanwhile. Errors end as one
message in the panel, never as a traceback.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets

from bakehouse.core.errors import BakehouseError
from bakehouse.notebook import html
from bakehouse.notebook.project import Project

Changed = Callable[[], None]


class Panel:
    """One step of the way.

    Args:
        project: what it works on.
        by_itself: whether it does its part without a click.
        changed: called when something has changed that other panels show.
    """

    title = ""
    below = ""
    """What the step is for, in a sentence."""

    def __init__(self, project: Project, *, by_itself: bool, changed: Changed) -> None:
        self.project, self.by_itself, self._changed = project, by_itself, changed
        self._thread: threading.Thread | None = None
        self._buttons: list[Any] = []
        self._progress, self._message, self._result, self._commands = (self.area() for _ in range(4))
        head = self.area()
        head.value = html.styled(html.heading(self.title, self.below))
        parts = [head, *self.controls(), self._progress, self._message, *self.views(), self._result, self._commands]
        self.box: Any = widgets.VBox(parts)
        self.box.add_class("bh-panel")

    # --- what a panel defines -----------------------------------------------------------------------------------------

    def controls(self) -> Sequence[Any]:
        """Return the panel's widgets."""
        return ()

    def views(self) -> Sequence[Any]:
        """Return what is shown below the message, beside the result."""
        return ()

    def begin(self) -> None:
        """Show what is there already, and do what needs no click. Called once, when the cell is run."""

    def refresh(self) -> None:
        """Show what another panel has changed."""

    # --- what it uses -------------------------------------------------------------------------------------------------

    def area(self) -> Any:
        """Return a place for HTML."""
        return widgets.HTML()

    def button(self, words: str, action: Callable[[], object], *, primary: bool = False, waits: bool = True) -> Any:
        """Return a button that does `action` in a thread.

        Args:
            words: on it.
            action: what it does; errors of bakehouse become the panel's message.
            primary: whether it is the panel's main button.
            waits: whether it can only be pressed when nothing is at work.
        """
        made = widgets.Button(
            description=words, button_style="primary" if primary else "", layout=widgets.Layout(width="auto")
        )
        made.on_click(lambda _: self.work(action) if waits else self.guarded(action))
        if waits:
            self._buttons.append(made)
        return made

    def field(self, words: str, kind: type[Any] = widgets.Text, **traits: Any) -> Any:
        """Return a field with its name before it."""
        layout = widgets.Layout(width="min(560px, 100%)")
        style = {"description_width": "130px", **traits.pop("style", {})}
        return kind(description=words, style=style, layout=layout, **traits)

    def work(self, action: Callable[[], object]) -> None:
        """Do something in a thread; what is at work already goes on alone."""
        if self.is_at_work:
            return
        self._message.value = ""
        self._enable(False)
        self._thread = threading.Thread(target=self._work, args=(action,), daemon=True)
        self._thread.start()

    @property
    def is_at_work(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def wait(self) -> None:
        """Return when nothing is at work in this panel. An interrupted cell stops waiting; the work goes on."""
        while self._thread is not None and self._thread.is_alive():
            self._thread.join(0.5)

    def say(self, kind: html.Kind, said: str, hint: str = "") -> None:
        """Show the panel's message."""
        self._message.value = html.styled(html.message(kind, said, hint))

    def show(self, content: str) -> None:
        """Show the panel's result."""
        self._result.value = html.styled(content) if content else ""

    def show_progress(self, what: str, share: float | None) -> None:
        """Show how far the work is."""
        self._progress.value = html.styled(html.bar(what, share))

    def run(self, name: str, arguments: Sequence[str], **options: Any) -> Any:
        """Run a command of bakehouse, show its progress and its command line, and return the JSON it prints.

        Raises:
            BakehouseError: it failed, with its message.
        """
        self.show_commands([arguments])
        return self.project.commands.run(name, arguments, self.show_progress, **options)

    def show_commands(self, commands: Sequence[Sequence[str]]) -> None:
        """Show the command lines that do the same in a terminal."""
        self._commands.value = html.styled(html.same_as_command(commands))

    def keep(self) -> None:
        """Bring the copy of the project up to date; a copy that fails is a warning, and no end of the work."""
        if self.project.copy_url is None:
            return
        self.show_progress("copying", None)
        try:
            self.project.keep()
        except BakehouseError as e:
            self.say("warning", f"the copy is not up to date: {e.message}", e.hint)

    def changed(self) -> None:
        """Say that something has changed that other panels show."""
        self._changed()

    def _work(self, action: Callable[[], object]) -> None:
        try:
            self.guarded(action)
        finally:
            self._progress.value = ""
            self._enable(True)
            self._thread = None
            self.changed()

    def guarded(self, action: Callable[[], object]) -> None:
        """Do something; what goes wrong becomes the panel's message."""
        try:
            action()
        except BakehouseError as e:
            self.say("error", e.message, e.hint)
        except OSError as e:
            self.say("error", f"{e.filename or 'the system'}: {e.strerror or e}", "check the path and its permissions")
        # A handler of a widget: what it raises would be seen in the kernel's log alone.
        except Exception as e:
            hint = "This is a bug in bakehouse. Report it with this message and the version."
            self.say("error", f"Unexpected error: {type(e).__name__}: {e}", hint)

    def _enable(self, on: bool) -> None:
        for button in self._buttons:
            button.disabled = not on


def row(*parts: Any) -> Any:
    """Return widgets side by side, in several lines where there is no room."""
    return widgets.HBox(list(parts), layout=widgets.Layout(flex_flow="row wrap", align_items="center"))
