"""In place of the package that detects text: on a machine without it, a command says so and goes on.

Reading the text in an image takes a second of processor time, most of an audit, and each dataset that a page shows is
audited. Audits with it are tested without a browser.
"""

raise ImportError("the pages are tested as on a machine without it")
