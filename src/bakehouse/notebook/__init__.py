"""The notebook's cells: each shows one panel of widgets, and each button is a command of bakehouse.

    from bakehouse import notebook

    steps = notebook.open_project("me")
    steps.photos()

Long work is a process of its own: it goes on when the kernel or the page is gone, and the same cells find it again.
"""

from bakehouse.notebook.machine import show_machine
from bakehouse.notebook.steps import Steps, open_project

__all__ = ["Steps", "open_project", "show_machine"]
