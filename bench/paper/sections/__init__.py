"""The sections of the page. Each is a module with one function, section(run: Run) -> Section: it asks the run for what it needs, which
is measured unless an earlier run has, and says what came out. A new section is a module and its name in ORDER.
"""
ORDER = ("token_mixers", "folding", "large_kernels", "accuracy", "robustness", "figure_1")
